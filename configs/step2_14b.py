"""STEP2 on Wan2.1 T2V 14B by LoRA, on records of films or of ConStoryBoard at 720x1280.

    stage convert Wan2.1-T2V-14B models/wan_14b
    stage train --config configs/step2_14b.py --workdir runs/step2_14b --config.data.dir=data/constoryboard

"clip" ranks memory by CLIP similarity to the description, as the paper does; the model folder then needs `clip` and
`clip_tokenizer` (XLM-RoBERTa's tokenizer.json) beside the rest.

    stage train --config configs/step2_14b.py:clip --workdir runs/step2_14b --config.data.dir=data/constoryboard

From STAGE: LoRA of rank 64 on the DiT, 100,000 steps of Adam at 1e-4, the VAE frozen. Ours, for the paper does not say: batch,
dropout, noise levels. The text encoder is frozen; the paper's (Qwen2.5-VL) was trained with LoRA, too. The result has the LoRA
merged, so that DPO may start another one.
"""

import dataclasses

from ml_collections import ConfigDict

from stage_jax.recipes.step2_config import STEP2Config


def get_config(arg: str = "") -> ConfigDict:
    config = ConfigDict()
    config.name, config.task, config.model = "step2_14b", "step2", "wan2.1-t2v-14b"
    config.init = "models/wan_14b"
    recipe = STEP2Config(
        ranking="clip_text" if arg == "clip" else "latent", anchors=False, hints=False, attributes=True, timing=True
    )
    config.recipe = ConfigDict(dataclasses.asdict(recipe))
    config.lora = ConfigDict({"rank": 64, "alpha": 64, "base": "bfloat16"})
    config.seed = 0
    config.steps = 100_000
    config.log_every, config.checkpoint_every = 50, 1000
    config.ema = 0.9999
    config.dtype, config.remat = "bfloat16", True
    config.shift, config.copies = 2.2, 1
    config.dropout = ConfigDict({"caption": 0.1, "history": 0.1, "pair": 0.0})
    config.export_dtype = "bfloat16"
    config.sampling = ConfigDict(
        {"solver": "stage", "steps": 20, "shift": 2.2, "guidance": 4.0, "rescale": True, "size": (720, 1280)}
    )
    config.optimizer = ConfigDict(
        {
            "name": "adamw",
            "lr": 1e-4,
            "warmup": 500,
            "flat": 1.0,
            "final": 1.0,
            "weight_decay": 0.0,
            "clip": 1.0,
            "b2": 0.999,
        }
    )
    config.data = ConfigDict({"dir": "data/constoryboard", "batch": 8, "history": 5, "workers": 4})
    return config
