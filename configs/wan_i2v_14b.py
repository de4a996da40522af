"""Image to video at 14B (Wan2.1), all parameters, on records of clips of 81 frames at 480x832 (or any size of theirs).

    stage convert Wan2.1-I2V-14B-480P models/wan2.1-i2v-14b-480p
    stage train --config configs/wan_i2v_14b.py --workdir runs/wan_i2v_14b --config.data.dir=data/clips

The same at tiny size, from random weights on toy clips, with the encoders of the tiny STEP2: wan_i2v_14b.py:tiny
"""

from ml_collections import ConfigDict

from stage_jax.training.presets import tiny_wan_video, wan_video


def get_config(arg: str = "") -> ConfigDict:
    weights = "models/wan2.1-i2v-14b-480p"
    config = tiny_wan_video("tiny-flf2v") if arg == "tiny" else wan_video("wan2.1-i2v-14b", weights)
    config.name, config.task, config.shift = "wan_i2v_14b", "i2v", 3.0
    return config
