"""One of the two experts of Wan2.2's text to video, all parameters, on its own side of the boundary: :high or :low.

    stage convert Wan2.2-T2V-A14B models/wan2.2-t2v-a14b
    stage train --config configs/wan_t2v_a14b.py:high --workdir runs/wan_t2v_high --config.data.dir=data/clips
    stage train --config configs/wan_t2v_a14b.py:low --workdir runs/wan_t2v_low --config.data.dir=data/clips

The same at tiny size, from random weights on toy clips, with the encoders of the tiny STEP2: wan_t2v_a14b.py:high,tiny
"""

from ml_collections import ConfigDict


def get_config(arg: str = "high") -> ConfigDict:
    expert, _, size = arg.partition(",")
    tiny = size == "tiny"
    config = ConfigDict()
    config.name, config.task = f"wan_t2v_a14b_{expert}", "t2v"
    config.model = "tiny-t2v" if tiny else "wan2.2-t2v-a14b"
    config.encoders = "runs/tiny_step2/model" if tiny else "models/wan2.2-t2v-a14b"  # VAE, text encoder, tokenizer
    config.expert, config.boundary = expert, 0.875
    config.init = None if tiny else "models/wan2.2-t2v-a14b"
    config.dtype, config.remat = ("float32", False) if tiny else ("bfloat16", True)
    config.seed = 0
    config.steps = 1000 if tiny else 10_000
    config.log_every, config.checkpoint_every = 50, 500
    config.ema, config.accumulate = 0.999, 1 if tiny else 4
    config.shift, config.density = 12.0, "logit_normal"
    config.caption_dropout = 0.1
    config.export_dtype = "float16" if tiny else "bfloat16"
    config.evaluate = ConfigDict({"every": 500, "split": "validation", "batches": 4, "bands": 5})
    config.optimizer = ConfigDict(
        {
            "name": "adamw",
            "lr": 1e-3 if tiny else 1e-5,
            "warmup": 100,
            "flat": 0.5,
            "final": 0.1,
            "decay": "cosine",
            "weight_decay": 0.01,
            "clip": 1.0,
            "b2": 0.98,
        }
    )
    config.data = ConfigDict({"dir": "data/toy" if tiny else "data/clips", "batch": 16 if tiny else 64, "workers": 0})
    return config
