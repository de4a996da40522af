"""LoRAs added to kernels while these are read, one at a time: a model that does not fit into memory is merged as it is
written."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stage_jax.models.lora import A, B, LoRA, check_shapes, linear_shapes
from stage_jax.weights.convert import cast
from stage_jax.weights.part import Part
from stage_jax.weights.shards import Read


def merging(part: Part, loras: Sequence[tuple[LoRA, float]]) -> Read:
    """`part.read`, with weight * scale * A B added to each kernel that has it; in float32, then in the kernel's type.
    InputError for a LoRA of linears that the part does not have."""
    for lora, _ in loras:
        check_shapes(lora, linear_shapes(part.specs))

    def read(path: str) -> np.ndarray:
        kernel, linear = part.read(path), path.removesuffix(".kernel")
        adding = [(lora, weight) for lora, weight in loras if linear in lora.alphas and linear != path]
        if not adding:
            return kernel
        total = kernel.astype(np.float32)
        for lora, weight in adding:
            a, b = (np.asarray(lora.factors[linear + role], np.float32) for role in (A, B))
            total += a @ (b * np.float32(weight * lora.scale(linear)))
        return cast(total, kernel.dtype, f"{part.checkpoint.where}: {path}")

    return read
