"""The tiny STEP2 with its text encoder, fine-tuned on views of a film's shots under the film's VAE; words of the captions that
it does not know get rows of their own. The third part of `tools/finetune_film.py`:

    stage train --config configs/film_step2.py --workdir runs/film/step2
"""

import dataclasses

from ml_collections import ConfigDict

from stage_jax.recipes.step2_config import TINY


def get_config(arg: str = "") -> ConfigDict:
    config = ConfigDict()
    config.name, config.task = "film_step2", "step2"
    config.model, config.text_encoder = "tiny-step2", "tiny"
    config.init, config.vae = "stage_jax/assets/tiny", "runs/film/vae/model"
    config.words = "records"
    config.seed = 0
    config.steps = 4 if arg == "smoke" else 500
    config.log_every, config.checkpoint_every = (2, 4) if arg == "smoke" else (25, 250)
    config.ema = 0.99
    config.shift = 2.5
    config.copies = 1
    config.recipe = ConfigDict(dataclasses.asdict(TINY))
    config.dropout = ConfigDict({"caption": 0.1, "history": 0.1, "pair": 0.1})
    config.export_dtype = "float16"
    config.sampling = ConfigDict({"steps": 20, "shift": 2.5, "guidance": 1.5, "size": (64, 64)})
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
            "adam_only": r"token_embedding|position_bias|modulation|head|scale|bias",
        }
    )
    config.data = ConfigDict({"dir": "runs/film/records", "batch": 24})
    return config
