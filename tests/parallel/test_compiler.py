"""Compiler options: known to this compiler, or left out."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stage_jax.parallel import compiler


def test_a_training_step_compiles_with_them():
    assert compiler.training_options() is not None  # the pinned compiler knows them; if a newer one does not, look again
    gradient = jax.grad(lambda w: jnp.square(jnp.ones((40, 8)) @ w).mean())
    w = jnp.arange(24.0).reshape(8, 3)
    found = jax.jit(gradient, compiler_options=compiler.training_options())(w)
    np.testing.assert_allclose(found, gradient(w), rtol=1e-5)


def test_an_option_that_is_not_known_is_left_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(compiler, "_TRAINING_ON_CPU", {"xla_cpu_no_such_option": ""})
    assert compiler.training_options.__wrapped__() is None
