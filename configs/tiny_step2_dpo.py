"""DPO of the tiny STEP2 on toy pairs: the second stage, from what `configs/tiny_step2.py:ablation` trained. That one already
tells pairs apart, and has much to learn; what `:long` trained has little left of it (docs/STEP2.md).

    stage train --config configs/tiny_step2.py:ablation --workdir runs/tiny_step2_short
    stage train --config configs/tiny_step2_dpo.py --workdir runs/tiny_step2_dpo

On records of level `full` the rejected pairs are also broken cuts:

    stage train --config configs/tiny_step2_dpo.py:both --workdir runs/tiny_step2_full_dpo \
      --config.init=runs/tiny_step2_full/model --config.data.dir=data/toy_full
"""

from ml_collections import ConfigDict


def get_config(arg: str = "") -> ConfigDict:
    config = ConfigDict()
    config.name, config.task, config.model = "tiny_step2_dpo", "dpo", "tiny-step2"
    config.init = "runs/tiny_step2_short/model"
    config.text_encoder = "tiny"
    config.frozen = r"^(reference|umt5)\."  # the SFT model, and the text encoder that both read
    # Ours. The errors on two toy pairs differ by .05 to .2: with beta 2000 the loss is content with a hundredth of that. The
    # SFT term weighs against beta: with 0.5 both errors rise.
    config.beta, config.sft = 200.0, 50.0
    config.seed = 0
    config.steps = 60 if arg == "smoke" else 1500
    config.log_every, config.checkpoint_every = 50, 500
    config.ema = 0.99
    config.shift, config.copies = 2.5, 1
    config.dropout = ConfigDict({"caption": 0.0, "history": 0.1, "pair": 0.1})
    config.export_dtype = "float16"
    config.sampling = ConfigDict({"steps": 20, "shift": 2.5, "guidance": 2.5, "size": (64, 64)})
    config.optimizer = ConfigDict(
        {
            "name": "adamw",
            "lr": 2e-4,
            "warmup": 50,
            "flat": 0.5,
            "final": 0.1,
            "weight_decay": 0.0,
            "clip": 1.0,
            "b2": 0.999,
        }
    )
    config.data = ConfigDict({"dir": "data/toy", "batch": 16, "preferences": "both" if arg == "both" else "interior"})
    return config
