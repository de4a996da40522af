"""A first/last-frame filler of 1.3B, which nobody has released: Wan2.1's text-to-video model, its patch embedding widened to
mask and given pictures with zeros, so that it begins as the model it was; no CLIP. On records of clips of 81 frames.

    stage convert Wan2.1-T2V-1.3B models/wan2.1-t2v-1.3b
    stage train --config configs/wan_flf2v_1_3b_widened.py --workdir runs/flf2v_1_3b --config.data.dir=data/clips
    stage video --model runs/flf2v_1_3b/model --prompt ... --first_frame a.png --last_frame b.png
"""

from ml_collections import ConfigDict

from stage_jax.training.presets import wan_video


def get_config(arg: str = "") -> ConfigDict:
    config = wan_video("widened-flf2v-1.3b", "models/wan2.1-t2v-1.3b")
    config.name, config.task, config.shift = "wan_flf2v_1_3b_widened", "flf2v", 5.0
    config.steps, config.accumulate, config.data.batch = 20_000, 1, 32
    config.sampling = ConfigDict({"solver": "unipc", "steps": 50, "shift": 5.0, "guidance": 5.0, "frames": 81, "fps": 16})
    config.optimizer.lr, config.optimizer.warmup = 2e-5, 500
    return config
