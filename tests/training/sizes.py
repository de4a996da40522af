"""Models of a few thousand parameters and the configs that train them, for tests of the loop and not of what it learns."""

from __future__ import annotations

from pathlib import Path

from stage_jax.models import zoo
from stage_jax.models.dit import DiTConfig
from stage_jax.models.umt5 import UMT5Config
from stage_jax.models.vae_config import VAEConfig

DIT = {
    "dim": 16, "ffn_dim": 16, "heads": 2, "layers": 1, "text_dim": 8, "text_len": 12, "freq_dim": 8,
    "scan_layers": False,
}  # fmt: skip
VAE = VAEConfig(base=2, multipliers=(1, 1, 1), res_blocks=1, temporal_down=(True, True))
SHALLOW = VAEConfig(base=2, multipliers=(1, 1), res_blocks=1, temporal_down=(True,))  # quick to compile
STEP2, FILLER = DiTConfig(in_channels=20, **DIT), DiTConfig(in_channels=36, **DIT)
TEXT = UMT5Config(vocabulary=2, dim=8, attention_dim=8, ffn_dim=8, heads=2, layers=1, scan_layers=False)
SIDE, FRAMES = 16, 17

OPTIMIZER = {
    "name": "muon", "lr": 3e-3, "warmup": 2, "flat": 0.5, "final": 0.02, "weight_decay": 0.01, "clip": 1.0, "b2": 0.98,
    "adam_only": "modulation|head|scale|bias|gamma",
}  # fmt: skip


def small_zoo() -> None:
    """Puts the sizes into the zoo under the name "test"."""
    zoo.VAES["test"], zoo.DITS["test"], zoo.TEXT_ENCODERS["test"] = VAE, STEP2, TEXT
    zoo.DITS["test-filler"], zoo.VAES["test-shallow"] = FILLER, SHALLOW


def common(steps: int) -> dict:
    return {
        "seed": 3, "steps": steps, "log_every": 1, "checkpoint_every": 3, "ema": 0.9, "optimizer": OPTIMIZER, "model": "test",
    }  # fmt: skip


def vae_config(records: Path, steps: int) -> dict:
    data = {
        "dir": str(records), "clips": 1, "window": 5, "stills": 2, "clip_share": 0.5, "frames": FRAMES, "statistics": 16,
    }  # fmt: skip
    optimizer = OPTIMIZER | {"name": "adamw"}  # Muon is long to compile for a hundred small kernels
    return common(steps) | {
        "name": "vae", "task": "vae", "kl": 1e-6, "export_dtype": "float32", "data": data, "optimizer": optimizer,
    }  # fmt: skip


def step2_config(records: Path, vae: Path, steps: int) -> dict:
    return common(steps) | {
        "name": "step2", "task": "step2", "text_encoder": "test", "vae": str(vae), "shift": 2.5, "copies": 2,
        "dropout": {"caption": 0.3, "history": 0.3, "pair": 0.3}, "export_dtype": "float32",
        "sampling": {"steps": 2, "shift": 2.5, "guidance": 2.5, "size": [SIDE, SIDE]},
        "data": {"dir": str(records), "batch": 2},
    }  # fmt: skip


def filler_config(records: Path, step2: Path, steps: int) -> dict:
    return common(steps) | {
        "name": "filler", "task": "filler", "model": "test-filler", "step2": str(step2), "shift": 3.0, "copies": 2,
        "caption_dropout": 0.1, "export_dtype": "float32",
        "sampling": {"steps": 2, "shift": 3.0, "guidance": 1.0, "size": [SIDE, SIDE], "frames": FRAMES},
        "data": {"dir": str(records), "batch": 2, "stories": 2},
    }  # fmt: skip
