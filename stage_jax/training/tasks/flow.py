"""What the tasks share whose loss is flow matching: noise and levels of a batch, and the rows that `copies` make of it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from stage_jax.losses.flow_matching import noised, velocity_target
from stage_jax.sampling.noise_levels import NoiseLevels


def draw_noise(
    data: Float[Array, "b *n"],
    key: PRNGKeyArray,
    levels: NoiseLevels,
    sigma: Float[Array, " b"] | None = None,
    copies: int = 1,
) -> dict[str, Float[Array, "..."]]:
    """sigma [b, copies] and noise [b, copies, *n] in float32: every row of a batch is seen with so many noises and levels.
    sigma: of all copies of a row, if given."""
    sigma_key, noise_key = jax.random.split(key)
    rows = copies * len(data)
    drawn = levels.sample(sigma_key, rows) if sigma is None else repeated(sigma, copies)
    noise = jax.random.normal(noise_key, (rows, *data.shape[1:]))
    return {name: _by_row(value, copies) for name, value in (("sigma", drawn), ("noise", noise))}


def noised_rows(
    data: Float[Array, "b *n"], drawn: dict[str, Shaped[Array, "..."]]
) -> tuple[Float[Array, "r *n"], Float[Array, " r"], Float[Array, "r *n"]]:
    """(noised data, sigma, velocity that is to be predicted) of all copies of all rows, one copy after another: what
    `repeated` puts beside them. drawn: of `draw_noise`."""
    copies = drawn["sigma"].shape[1]
    sigma, noise = (drawn[name].swapaxes(0, 1).reshape(-1, *drawn[name].shape[2:]) for name in ("sigma", "noise"))
    data = repeated(data.astype(jnp.float32), copies)
    return noised(data, noise, sigma), sigma, velocity_target(data, noise)


def repeated(rows: Shaped[Array, "b *n"], copies: int) -> Shaped[Array, "r *n"]:
    return jnp.concatenate([rows] * copies)


def row_means(values: Float[Array, " r"], copies: int) -> Float[Array, " b"]:
    """The mean over the copies of each row."""
    return values.reshape(copies, -1).mean(0)


def _by_row(values: Shaped[Array, "r *n"], copies: int) -> Shaped[Array, "b copies *n"]:
    return values.reshape(copies, -1, *values.shape[1:]).swapaxes(0, 1)
