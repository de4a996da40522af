"""The tiny first/last-frame filler, trained on toy clips; its model folder holds everything that `stage film` needs.

    stage data toy --out data/toy
    stage train --config configs/tiny_filler.py --workdir runs/tiny_filler
"""

from ml_collections import ConfigDict


def get_config(arg: str = "") -> ConfigDict:
    config = ConfigDict()
    config.name, config.task, config.model = "tiny_filler", "filler", "tiny-flf2v"
    config.step2 = "runs/tiny_step2_long/model"
    config.seed = 0
    config.steps = 60 if arg == "smoke" else 4000
    config.log_every, config.checkpoint_every = 50, 500
    config.ema = 0.998
    config.shift = 3.0
    config.copies = 1
    config.caption_dropout = 0.1
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
    config.data = ConfigDict({"dir": "data/toy", "batch": 20, "stories": 1000, "workers": 0})
    return config
