"""What trainings of one kind have in common, so that a config file shows what is its own. All of it our choice, but where a
config says whose it is."""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict


def adamw(lr: float, **changes: Any) -> ConfigDict:
    """AdamW with cosine decay, as fine-tuning of Wan has it. lr: the peak."""
    settings = {
        "name": "adamw", "lr": lr, "warmup": 100, "flat": 0.5, "final": 0.1, "decay": "cosine", "weight_decay": 0.01,
        "clip": 1.0, "b2": 0.98,
    }  # fmt: skip
    return ConfigDict(settings | changes)


def spread() -> ConfigDict:
    """The mesh of a model too large for each device to hold whole: all devices share parameters and batch."""
    return ConfigDict({"data": 1, "fsdp": -1, "tensor": 1})


def wan_video(model: str, weights: str) -> ConfigDict:
    """All parameters of a Wan video model from a model folder's weights, on records of clips."""
    config = ConfigDict()
    config.model, config.init = model, weights
    config.encoders = weights  # VAE, text encoder, tokenizer and, where the model has image tokens, CLIP
    config.dtype, config.remat = "bfloat16", True
    config.mesh = spread()
    config.seed, config.steps = 0, 10_000
    config.log_every, config.checkpoint_every = 50, 500
    config.ema, config.accumulate = 0.999, 4
    config.shift, config.density, config.caption_dropout = 5.0, "logit_normal", 0.1
    config.export_dtype = "bfloat16"
    config.evaluate = ConfigDict({"every": 500, "split": "validation", "batches": 4, "bands": 5})
    config.optimizer = adamw(1e-5)
    config.data = ConfigDict({"dir": "data/clips", "batch": 64, "workers": 0})
    return config


def tiny_wan_video(model: str) -> ConfigDict:
    """The same at tiny size: from random weights, on toy clips, with the encoders of the tiny STEP2."""
    config = wan_video(model, "runs/tiny_step2_long/model")
    config.init = None
    config.dtype, config.remat, config.accumulate = "float32", False, 1
    config.steps, config.export_dtype, config.optimizer.lr = 1000, "float16", 1e-3
    config.data.dir, config.data.batch, config.data.stories = "data/toy", 16, 1000
    return config


def step2_on_wan(size: tuple[int, int]) -> ConfigDict:
    """STEP2 and its DPO on Wan's weights, on records of stories of this height and width. From STAGE: Adam, a constant rate of
    1e-4, 20 steps of its sampler, guidance 4, shift 2.2."""
    config = ConfigDict()
    config.seed = 0
    config.log_every, config.checkpoint_every = 50, 1000
    config.dtype, config.remat, config.export_dtype = "bfloat16", True, "bfloat16"
    config.mesh = spread()
    config.shift, config.copies = 2.2, 1
    config.sampling = ConfigDict(
        {"solver": "stage", "steps": 20, "shift": 2.2, "guidance": 4.0, "rescale": True, "size": size}
    )
    config.optimizer = ConfigDict(
        {
            "name": "adamw", "lr": 1e-4, "warmup": 500, "flat": 1.0, "final": 1.0, "weight_decay": 0.0, "clip": 1.0,
            "b2": 0.999,
        }
    )  # fmt: skip
    config.data = ConfigDict({"dir": "data/constoryboard", "batch": 8, "history": 5, "workers": 4})
    return config
