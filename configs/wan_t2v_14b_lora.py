"""A LoRA for Wan2.1's text to video at 14B: the base is frozen in bfloat16, adapters are trained in float32.

    stage convert Wan2.1-T2V-14B models/wan2.1-t2v-14b
    stage train --config configs/wan_t2v_14b_lora.py --workdir runs/my_lora --config.data.dir=data/clips
    stage export runs/my_lora/model my_lora.safetensors --format comfy --lora
    stage video --model models/wan2.1-t2v-14b --lora runs/my_lora/model:0.8 --prompt ...

The same at tiny size, on toy clips, for the tiny text-to-video model: wan_t2v_14b_lora.py:tiny
"""

from ml_collections import ConfigDict

from stage_jax.training.presets import spread


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    config = ConfigDict()
    config.name, config.task = "wan_t2v_14b_lora", "t2v"
    config.model = "tiny-t2v" if tiny else "wan2.1-t2v-14b"
    config.init = "runs/tiny_t2v/model" if tiny else "models/wan2.1-t2v-14b"
    config.encoders = config.init  # VAE, text encoder, tokenizer
    config.lora = ConfigDict({"rank": 32, "alpha": 32.0, "rslora": False, "base": "float32" if tiny else "bfloat16"})
    config.dtype, config.remat = ("float32", False) if tiny else ("bfloat16", True)
    config.mesh = spread()
    config.seed = 0
    config.steps = 1000 if tiny else 3000
    config.log_every, config.checkpoint_every = 50, 500
    config.shift, config.density = 5.0, "logit_normal"
    config.caption_dropout = 0.1
    config.export_dtype = "float32"  # of what is beside the LoRA: nothing
    config.optimizer = ConfigDict(
        {
            "name": "adamw",
            "lr": 1e-4,  # as the trainers of LoRAs for Wan have it
            "warmup": 100,
            "flat": 0.5,
            "final": 0.1,
            "decay": "cosine",
            "weight_decay": 0.01,
            "clip": 1.0,
            "b2": 0.99,
        }
    )
    config.data = ConfigDict({"dir": "data/toy" if tiny else "data/clips", "batch": 16 if tiny else 8, "workers": 0})
    return config
