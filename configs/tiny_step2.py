"""The tiny STEP2 with its text encoder, trained on toy stories under the tiny VAE.

    stage data toy --out data/toy
    stage train --config configs/tiny_step2.py --workdir runs/tiny_step2
    stage train --config configs/tiny_step2.py:long --workdir runs/tiny_step2_long

"long" goes on from what the second one trained, and is what is shipped: with the text encoder as it is, so that a filler
trained beside it stays good, and with a frame of the pair hidden now and then, so that one run is its own ablation of dual
encoding. "ablation" is short, with the held-out losses by which configs/sweeps/step2_ablations.py compares. "full" is one long
run from the start on the toy world's level full:

    stage data toy --level full --out data/toy_full
    stage train --config configs/tiny_step2.py:full --workdir runs/tiny_step2_full

"full_from_easy" goes on from "long" instead, on as many stories as are there, and learns the words of their captions.
"""

import dataclasses

from ml_collections import ConfigDict

from stage_jax.recipes.step2_config import TINY


def get_config(arg: str = "") -> ConfigDict:
    config = ConfigDict()
    config.name, config.task = "tiny_step2", "step2"
    config.model, config.text_encoder = "tiny-step2", "tiny"
    config.vae = "runs/tiny_vae_decoder/model"
    config.seed = 0
    config.steps = {"smoke": 60, "ablation": 1000, "long": 4000, "full": 18_000, "full_from_easy": 2500}.get(arg, 4500)
    config.log_every, config.checkpoint_every = 50, 500
    config.ema = 0.998
    config.shift = 2.5  # between the paper's sampler (2.2) and what the toy's small frames like
    config.copies = 1
    config.recipe = ConfigDict(dataclasses.asdict(TINY))
    config.dropout = ConfigDict({"caption": 0.1, "history": 0.1, "pair": 0.1})
    if arg in ("long", "full"):
        config.dropout.frame = 0.1
        config.evaluate = ConfigDict({"every": 1000, "split": "validation", "batches": 4, "bands": 4})
        config.boards = ConfigDict({"every": 2000, "split": "validation", "stories": 8})
    if arg == "ablation":
        config.evaluate = ConfigDict({"every": 500, "split": "validation", "batches": 8, "bands": 4})
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
    config.data = ConfigDict({"dir": "data/toy", "batch": 40, "workers": 0})
    if arg == "long":
        config.init, config.frozen = "runs/tiny_step2/model", r"^umt5\."
        config.ema, config.optimizer.flat = 0.999, 0.4
        config.data.crowded = 0.4  # with one character in a shot all is well by now, with two a sixth goes wrong
    if arg == "full":
        config.words, config.text_len, config.data.dir = "full", 64, "data/toy_full"
    if arg == "full_from_easy":
        config.init = "runs/tiny_step2_long/model"
        config.words, config.text_len, config.data.dir = "records", 64, "data/toy_full"
    return config
