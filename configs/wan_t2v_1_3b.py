"""Text to video at 1.3B, all parameters, on records of clips of 81 frames at 480x832 (or any size of theirs).

    stage convert Wan2.1-T2V-1.3B models/wan2.1-t2v-1.3b
    stage train --config configs/wan_t2v_1_3b.py --workdir runs/wan_t2v_1_3b --config.data.dir=data/clips

The same at tiny size, from random weights on toy clips, with the encoders of the tiny STEP2: wan_t2v_1_3b.py:tiny
"""

from ml_collections import ConfigDict

from stage_jax.training.presets import tiny_wan_video, wan_video


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    config = tiny_wan_video("tiny-t2v") if tiny else wan_video("wan2.1-t2v-1.3b", "models/wan2.1-t2v-1.3b")
    config.name, config.task, config.shift = "wan_t2v_1_3b", "t2v", 5.0
    if not tiny:
        config.accumulate, config.data.batch = 1, 32
    return config
