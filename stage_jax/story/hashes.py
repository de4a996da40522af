"""Content hashes: equal things have equal ones, wherever and whenever they are taken."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
from jaxtyping import Shaped


def canonical_json(obj: Any) -> str:
    """JSON with sorted keys, no spaces, ASCII only: equal things give equal text. NumPy scalars count as numbers.

    Raises TypeError for what JSON does not have and ValueError for numbers that are not finite.
    """
    return json.dumps(obj, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"no JSON for {type(value).__name__}")


def content_hash(obj: Any) -> str:
    """sha256 of the canonical JSON, 64 hex digits."""
    return hashlib.sha256(canonical_json(obj).encode("ascii")).hexdigest()


def pixel_hash(pixels: Shaped[np.ndarray, "..."]) -> str:
    """sha256 over shape and values of a picture, a clip or a latent: what is seen, not how a file packs it."""
    digest = hashlib.sha256(repr(pixels.shape).encode("ascii"))
    digest.update(np.ascontiguousarray(pixels))
    return digest.hexdigest()
