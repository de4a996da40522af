"""What every test of a model runs under."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import pytest


@pytest.fixture(autouse=True)
def highest_precision() -> Iterator[None]:
    """Products in full float32, as the references have them."""
    with jax.default_matmul_precision("highest"):
        yield
