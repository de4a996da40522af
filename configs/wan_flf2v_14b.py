"""First and last frame to video at 14B (Wan2.1), all parameters, on records of clips of 81 frames (of any size).

    stage convert Wan2.1-FLF2V-14B-720P models/wan2.1-flf2v-14b
    stage train --config configs/wan_flf2v_14b.py --workdir runs/wan_flf2v_14b --config.data.dir=data/clips

The same at tiny size, from random weights on toy clips, with the encoders of the tiny STEP2: wan_flf2v_14b.py:tiny
"""

from ml_collections import ConfigDict

from stage_jax.training.presets import tiny_wan_video, wan_video


def get_config(arg: str = "") -> ConfigDict:
    config = tiny_wan_video("tiny-flf2v") if arg == "tiny" else wan_video("wan2.1-flf2v-14b", "models/wan2.1-flf2v-14b")
    config.name, config.task, config.shift = "wan_flf2v_14b", "flf2v", 16.0
    return config
