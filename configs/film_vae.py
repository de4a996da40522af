"""The tiny VAE, all of it, fine-tuned on the views of a film's shots that `tools/finetune_film.py` makes, as its second part:

    stage train --config configs/film_vae.py --workdir runs/film/vae

Latents change, so STEP2 and the filler are fine-tuned on it afterwards; their mean and deviation stay those of the toy world.
"""

from ml_collections import ConfigDict


def get_config(arg: str = "") -> ConfigDict:
    config = ConfigDict()
    config.name, config.task, config.model = "film_vae", "vae", "tiny"
    config.init = "stage_jax/assets/tiny"
    config.seed = 0
    config.steps = 4 if arg == "smoke" else 450
    config.log_every, config.checkpoint_every = (2, 4) if arg == "smoke" else (25, 150)
    config.ema = 0.995
    config.kl = 1e-6
    config.export_dtype = "float16"
    config.optimizer = ConfigDict(
        {
            "name": "muon",
            "lr": 2e-3,  # half of the first training's
            "warmup": 20,
            "flat": 0.4,
            "final": 0.02,
            "weight_decay": 1e-4,
            "clip": 1.0,
            "b2": 0.99,
            "adam_only": r"gamma|bias",
        }
    )
    config.data = ConfigDict(
        {
            "dir": "runs/film/records",
            "clips": 1,
            "window": 17,
            "stills": 8,
            "clip_share": 0.35,
            "frames": 17,
            "statistics": 512,
        }
    )
    return config
