"""The tiny STEP2 with its text encoder, trained on toy stories under the tiny VAE.

    stage data toy --out data/toy
    stage train --config configs/tiny_step2.py --workdir runs/tiny_step2
"""

from ml_collections import ConfigDict


def get_config(arg: str = "") -> ConfigDict:
    config = ConfigDict()
    config.name, config.task = "tiny_step2", "step2"
    config.model, config.text_encoder = "tiny-step2", "tiny"
    config.vae = "runs/tiny_vae/model"
    config.seed = 0
    config.steps = 60 if arg == "smoke" else 4500
    config.log_every, config.checkpoint_every = 50, 500
    config.ema = 0.998
    config.shift = 2.5  # between the paper's sampler (2.2) and what the toy's small frames like
    config.copies = 1
    config.dropout = ConfigDict({"caption": 0.1, "history": 0.1, "pair": 0.1})
    config.export_dtype = "float16"
    config.sampling = ConfigDict({"steps": 20, "shift": 2.5, "guidance": 2.5, "size": (64, 64)})
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
            "adam_only": r"token_embedding|position_bias|modulation|head|scale|bias",
        }
    )
    config.data = ConfigDict({"dir": "data/toy", "batch": 40})
    return config
