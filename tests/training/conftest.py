from __future__ import annotations

from pathlib import Path

import jax
import pytest
from flax import nnx

from data_pipeline.toy_records import write_toy_records
from stage_jax.models.stacking import flat_params
from stage_jax.models.vae import VAE
from stage_jax.weights.folder import write_part
from tests.training import sizes


@pytest.fixture(autouse=True)
def zoo() -> None:
    sizes.small_zoo()


@pytest.fixture(scope="session")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three small toy stories with clips."""
    out = tmp_path_factory.mktemp("toy") / "records"
    write_toy_records(out, {"train": 3}, size=sizes.SIDE)
    return out


@pytest.fixture(scope="session")
def vae_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random VAE as a model folder."""
    folder = tmp_path_factory.mktemp("models") / "vae"
    write_part(folder, "vae", sizes.VAE, jax.jit(lambda: flat_params(VAE(sizes.VAE, nnx.Rngs(0))))())
    return folder
