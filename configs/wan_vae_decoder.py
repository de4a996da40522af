"""Fine-tunes the decoder of Wan2.1's VAE on records of clips: latents, and with them every DiT, stay as they are.

    stage convert Wan2.1_VAE.pth models/wan2.1-vae
    stage train --config configs/wan_vae_decoder.py --workdir runs/wan_vae_decoder --config.data.dir=data/clips

The same with the tiny VAE on toy clips: wan_vae_decoder.py:tiny. Encoder and decoder: wan_vae_decoder.py:all or :tiny,all
"""

from ml_collections import ConfigDict


def get_config(arg: str = "") -> ConfigDict:
    options = arg.split(",")
    tiny = "tiny" in options
    config = ConfigDict()
    config.name, config.task = "wan_vae_decoder", "vae"
    config.model = "tiny" if tiny else "wan2.1"
    config.init = "runs/tiny_vae/model" if tiny else "models/wan2.1-vae"
    config.frozen = None if "all" in options else "^(encoder|quant)"
    config.seed = 0
    config.steps = 500 if tiny else 5000
    config.log_every, config.checkpoint_every = 50, 500
    config.ema = 0.999
    config.kl = 1e-6
    config.export_dtype = "float16" if tiny else "float32"
    config.evaluate = ConfigDict({"every": 500, "split": "validation", "batches": 8, "bands": 1})
    config.optimizer = ConfigDict(
        {
            "name": "adamw",
            "lr": 3e-4 if tiny else 1e-5,
            "warmup": 50,
            "flat": 0.5,
            "final": 0.1,
            "weight_decay": 0.0,
            "clip": 1.0,
            "b2": 0.99,
        }
    )
    config.data = ConfigDict(
        {
            "dir": "data/toy" if tiny else "data/clips",
            "clips": 1,  # clips in a clip step
            "window": 17,  # frames of each
            "stills": 8,  # pictures in a step of stills
            "clip_share": 0.6,
            "frames": 17,
            "statistics": 512,
        }
    )
    return config
