"""DPO of STEP2 on Wan2.1 T2V 14B by LoRA, from what `configs/step2_14b.py` trained.

    stage train --config configs/step2_14b_dpo.py --workdir runs/step2_14b_dpo --config.data.dir=data/constoryboard

From STAGE: 20,000 steps, the reference frozen, two frames from inside the shot as the rejected pair. Ours: beta (see
losses/dpo.py), the learning rate (the paper names 1e-4 for the whole run), the SFT term, a quarter of beta as on the toy world,
where the error on what is chosen does not rise with that. "people" takes the pairs that people rejected, where the records
have them.
"""

from ml_collections import ConfigDict

from stage_jax.training.presets import step2_on_wan


def get_config(arg: str = "") -> ConfigDict:
    config = step2_on_wan((720, 1280))
    config.name, config.task, config.model = "step2_14b_dpo", "dpo", "wan2.1-t2v-14b"
    config.init = "runs/step2_14b/model"
    config.lora = ConfigDict({"rank": 64, "alpha": 64, "base": "bfloat16"})  # the reference is the policy without it
    config.steps, config.ema = 20_000, 0.999
    config.beta, config.sft, config.optimizer.lr = 2000.0, 500.0, 1e-5
    config.dropout = ConfigDict({"caption": 0.0, "history": 0.1, "pair": 0.0})
    config.data.preferences = "given" if arg == "people" else "interior"
    return config
