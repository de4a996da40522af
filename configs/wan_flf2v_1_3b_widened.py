"""A first/last-frame filler of 1.3B, which nobody has released: Wan2.1's text-to-video model, its patch embedding widened to
mask and given pictures with zeros, so that it begins as the model it was; no CLIP. On records of clips of 81 frames.

    stage convert Wan2.1-T2V-1.3B models/wan2.1-t2v-1.3b
    stage train --config configs/wan_flf2v_1_3b_widened.py --workdir runs/flf2v_1_3b --config.data.dir=data/clips
    stage video --model runs/flf2v_1_3b/model --prompt ... --first_frame a.png --last_frame b.png
"""

from ml_collections import ConfigDict


def get_config(arg: str = "") -> ConfigDict:
    config = ConfigDict()
    config.name, config.task, config.model = "wan_flf2v_1_3b_widened", "flf2v", "widened-flf2v-1.3b"
    config.encoders = "models/wan2.1-t2v-1.3b"  # VAE, text encoder, tokenizer
    config.init = "models/wan2.1-t2v-1.3b"
    config.dtype, config.remat = "bfloat16", True
    config.seed = 0
    config.steps = 20_000
    config.log_every, config.checkpoint_every = 50, 500
    config.ema, config.accumulate = 0.999, 1
    config.shift, config.density = 5.0, "logit_normal"
    config.caption_dropout = 0.1
    config.export_dtype = "bfloat16"
    config.sampling = ConfigDict({"solver": "unipc", "steps": 50, "shift": 5.0, "guidance": 5.0, "frames": 81, "fps": 16})
    config.evaluate = ConfigDict({"every": 500, "split": "validation", "batches": 4, "bands": 5})
    config.optimizer = ConfigDict(
        {
            "name": "adamw",
            "lr": 2e-5,
            "warmup": 500,
            "flat": 0.5,
            "final": 0.1,
            "decay": "cosine",
            "weight_decay": 0.01,
            "clip": 1.0,
            "b2": 0.98,
        }
    )
    config.data = ConfigDict({"dir": "data/clips", "batch": 32, "workers": 0})
    return config
