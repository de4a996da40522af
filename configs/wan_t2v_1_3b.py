"""Text to video at 1.3B, all parameters, on records of clips of 81 frames at 480x832 (or any size of theirs).

    stage convert Wan2.1-T2V-1.3B models/wan2.1-t2v-1.3b
    stage train --config configs/wan_t2v_1_3b.py --workdir runs/wan_t2v_1_3b --config.data.dir=data/clips

The same at tiny size, from random weights on toy clips, with the encoders of the tiny STEP2: wan_t2v_1_3b.py:tiny
"""

from ml_collections import ConfigDict


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    config = ConfigDict()
    config.name, config.task = "wan_t2v_1_3b", "t2v"
    config.model = "tiny-t2v" if tiny else "wan2.1-t2v-1.3b"
    config.encoders = "runs/tiny_step2/model" if tiny else "models/wan2.1-t2v-1.3b"  # VAE, text encoder, tokenizer
    config.init = None if tiny else "models/wan2.1-t2v-1.3b"
    config.dtype, config.remat = ("float32", False) if tiny else ("bfloat16", True)
    config.seed = 0
    config.steps = 1000 if tiny else 10_000
    config.log_every, config.checkpoint_every = 50, 500
    config.ema, config.accumulate = 0.999, 1
    config.shift, config.density = 5.0, "logit_normal"
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
    config.data = ConfigDict({"dir": "data/toy" if tiny else "data/clips", "batch": 16 if tiny else 32, "workers": 0})
    return config
