"""The tiny filler, fine-tuned on views of a film's shots under the film's VAE and text encoder. The fourth part of
`tools/finetune_film.py`; its model folder holds everything that `stage film` needs.

    stage train --config configs/film_filler.py --workdir runs/film/filler
"""

from ml_collections import ConfigDict


def get_config(arg: str = "") -> ConfigDict:
    config = ConfigDict()
    config.name, config.task, config.model = "film_filler", "filler", "tiny-flf2v"
    config.init, config.step2 = "stage_jax/assets/tiny", "runs/film/step2/model"
    config.seed = 0
    config.steps = 4 if arg == "smoke" else 400
    config.log_every, config.checkpoint_every = (2, 4) if arg == "smoke" else (25, 200)
    config.ema = 0.99
    config.shift = 3.0
    config.copies = 1
    config.caption_dropout = 0.1
    config.export_dtype = "float16"
    config.sampling = ConfigDict({"steps": 20, "shift": 3.0, "guidance": 1.0, "size": (64, 64), "frames": 17, "landing": 12})
    config.optimizer = ConfigDict(
        {
            "name": "muon",
            "lr": 1e-3,  # a third of the first training's
            "warmup": 20,
            "flat": 0.4,
            "final": 0.02,
            "weight_decay": 0.01,
            "clip": 1.0,
            "b2": 0.98,
            "adam_only": r"modulation|head|scale|bias",
        }
    )
    config.data = ConfigDict({"dir": "runs/film/records", "batch": 12, "stories": 48})
    return config
