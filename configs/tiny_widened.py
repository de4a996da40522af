"""A first/last-frame filler made of a tiny text-to-video model: its patch embedding is widened to mask and given pictures, with
zeros, so that it begins as the model it was. On toy clips, with the encoders of the tiny STEP2.

    stage data toy --out data/toy
    stage train --config configs/wan_t2v_1_3b.py:tiny --workdir runs/tiny_t2v --config.steps=1500 --config.data.stories=500
    stage train --config configs/tiny_widened.py --workdir runs/tiny_widened
    python tools/measure_tiny.py --model runs/tiny_widened/model --parts swapped,filler --data data/toy --out out/widened

`swapped` asks whether it believes its pictures: given another shot's pair, whose figure do the inner frames show?
"""

from ml_collections import ConfigDict


def get_config(arg: str = "") -> ConfigDict:
    config = ConfigDict()
    config.name, config.task, config.model = "tiny_widened", "flf2v", "tiny-flf2v"
    config.encoders = "runs/tiny_step2_long/model"  # VAE, text encoder, tokenizer
    config.init = "runs/tiny_t2v/model"
    config.seed = 0
    config.steps = 60 if arg == "smoke" else 2500
    config.log_every, config.checkpoint_every = 50, 500
    config.ema = 0.998
    config.shift = 3.0
    config.caption_dropout = 0.5  # so that it goes by its pictures: captions alone, it can follow from the start
    config.export_dtype = "float16"
    config.sampling = ConfigDict({"steps": 20, "shift": 3.0, "guidance": 1.0, "size": (64, 64), "frames": 17, "landing": 12})
    config.optimizer = ConfigDict(
        {
            "name": "muon",
            "lr": 3e-3,
            "warmup": 60,
            "flat": 0.5,
            "final": 0.02,
            "weight_decay": 0.01,
            "clip": 1.0,
            "b2": 0.98,
            "adam_only": r"modulation|head|scale|bias",
        }
    )
    config.data = ConfigDict({"dir": "data/toy", "batch": 20, "stories": 500})
    return config
