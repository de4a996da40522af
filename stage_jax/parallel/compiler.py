"""What the compiler is told beyond the program."""

from __future__ import annotations

import functools

import jax

# XLA on the CPU hands reductions and products to a library whose reductions over tokens, of which a backward pass has many,
# are slow: without it a training step takes about 15 % less time. A forward pass is the faster for it.
_TRAINING_ON_CPU = {"xla_cpu_experimental_ynn_fusion_type": ""}


@functools.cache
def training_options() -> dict[str, str] | None:
    """`compiler_options` for the jit of a training step; None where there is nothing to say, or no compiler that knows it."""
    if jax.default_backend() != "cpu":
        return None
    try:
        jax.jit(lambda: 0, compiler_options=_TRAINING_ON_CPU).lower().compile()
    except jax.errors.JaxRuntimeError:  # an option of another version of XLA
        return None
    return _TRAINING_ON_CPU
