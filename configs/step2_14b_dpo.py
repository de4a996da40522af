"""DPO of STEP2 on Wan2.1 T2V 14B by LoRA, from what `configs/step2_14b.py` trained.

    stage train --config configs/step2_14b_dpo.py --workdir runs/step2_14b_dpo --config.data.dir=data/constoryboard

From STAGE: 20,000 steps, the reference frozen, two frames from inside the shot as the rejected pair. Ours: beta (see
losses/dpo.py), the learning rate (the paper names 1e-4 for the whole run), the SFT term. "people" takes the pairs that people
rejected, where the records have them.
"""

from ml_collections import ConfigDict


def get_config(arg: str = "") -> ConfigDict:
    config = ConfigDict()
    config.name, config.task, config.model = "step2_14b_dpo", "dpo", "wan2.1-t2v-14b"
    config.init = "runs/step2_14b/model"
    config.lora = ConfigDict({"rank": 64, "alpha": 64, "base": "bfloat16"})  # the reference is the policy without it
    config.beta, config.sft = 2000.0, 0.5
    config.seed = 0
    config.steps = 20_000
    config.log_every, config.checkpoint_every = 50, 1000
    config.ema = 0.999
    config.dtype, config.remat = "bfloat16", True
    config.shift, config.copies = 2.2, 1
    config.dropout = ConfigDict({"caption": 0.0, "history": 0.1, "pair": 0.0})
    config.export_dtype = "bfloat16"
    config.sampling = ConfigDict(
        {"solver": "stage", "steps": 20, "shift": 2.2, "guidance": 4.0, "rescale": True, "size": (720, 1280)}
    )
    config.optimizer = ConfigDict(
        {
            "name": "adamw",
            "lr": 1e-5,
            "warmup": 500,
            "flat": 1.0,
            "final": 1.0,
            "weight_decay": 0.0,
            "clip": 1.0,
            "b2": 0.999,
        }
    )
    preferences = "given" if arg == "people" else "interior"
    config.data = ConfigDict(
        {"dir": "data/constoryboard", "batch": 8, "history": 5, "workers": 4, "preferences": preferences}
    )
    return config
