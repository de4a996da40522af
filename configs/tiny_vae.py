"""The tiny VAE: Wan2.1's architecture at 2.5M parameters, trained on the toy cinema.

    stage data toy --out data/toy
    stage train --config configs/tiny_vae.py --workdir runs/tiny_vae
    stage train --config configs/tiny_vae.py:decoder --workdir runs/tiny_vae_decoder

The second trains the decoder on, for PSNR itself; latents stay what they are, so whatever was trained on them stays good.
"""

from ml_collections import ConfigDict


def get_config(arg: str = "") -> ConfigDict:
    config = ConfigDict()
    config.name, config.task, config.model = "tiny_vae", "vae", "tiny"
    config.seed = 0
    config.steps = 100 if arg == "smoke" else 5600
    config.log_every, config.checkpoint_every = 50, 500
    config.ema = 0.998
    config.kl = 1e-6
    config.export_dtype = "float16"
    config.optimizer = ConfigDict(
        {
            "name": "muon",
            "lr": 4e-3,
            "warmup": 100,
            "flat": 0.5,
            "final": 0.02,
            "weight_decay": 1e-4,
            "clip": 1.0,
            "b2": 0.99,
            "adam_only": r"gamma|bias",
        }
    )
    config.data = ConfigDict(
        {
            "dir": "data/toy",
            "workers": 0,  # processes that make batches; 0: threads
            "clips": 1,  # clips in a clip step
            "window": 17,  # frames of each: as long as the clips are, a shorter window leaves the later frames to drift
            "stills": 8,  # pictures in a step of stills
            "clip_share": 0.6,
            "frames": 17,
            "statistics": 512,  # clips over which the latents' mean and standard deviation are taken at the end
        }
    )
    if arg == "decoder":
        config.init, config.frozen, config.decibels = "runs/tiny_vae/model", "^(encoder|quant)", 0.01
        config.steps, config.checkpoint_every = 1800, 200
        config.optimizer.lr, config.optimizer.flat, config.data.clip_share = 1.5e-3, 0.4, 0.7
    return config
