"""One of the two experts of Wan2.2's text to video, all parameters, on its own side of the boundary: :high or :low.

    stage convert Wan2.2-T2V-A14B models/wan2.2-t2v-a14b
    stage train --config configs/wan_t2v_a14b.py:high --workdir runs/wan_t2v_high --config.data.dir=data/clips
    stage train --config configs/wan_t2v_a14b.py:low --workdir runs/wan_t2v_low --config.data.dir=data/clips

The same at tiny size, from random weights on toy clips, with the encoders of the tiny STEP2: wan_t2v_a14b.py:high,tiny
"""

from ml_collections import ConfigDict

from stage_jax.training.presets import tiny_wan_video, wan_video


def get_config(arg: str = "high") -> ConfigDict:
    expert, _, size = arg.partition(",")
    config = tiny_wan_video("tiny-t2v") if size == "tiny" else wan_video("wan2.2-t2v-a14b", "models/wan2.2-t2v-a14b")
    config.name, config.task, config.shift = f"wan_t2v_a14b_{expert}", "t2v", 12.0
    config.expert, config.boundary = expert, 0.875
    return config
