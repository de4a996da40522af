"""TransNet V2: tells for every frame of a film whether a transition between two shots is there.

Soucek, Lokoc: "TransNet V2: An effective deep network architecture for fast shot transition detection" (2020). Stages of cells
of convolutions over time with dilations 1, 2, 4 and 8; beside them, how alike each frame is to the 50 before and after it,
by features and by colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, UInt8

from stage_jax.models.layers import Linear

HEIGHT, WIDTH = 27, 48  # pixels of a frame
DILATIONS = (1, 2, 4, 8)
COLOURS = 512  # 8 levels of each colour
EPS = 1e-3  # of the batch norm


@dataclass(frozen=True)
class TransNetConfig:
    """filters: of each dilation in the first stage, twice as many in every later one. window: frames that one is compared
    with, itself in the middle. The defaults are the published network's."""

    filters: int = 16
    stages: int = 3
    cells: int = 2
    width: int = 1024
    window: int = 101
    similar: int = 128


class Branch(nnx.Module):
    """A 3 x 3 convolution over space, then one of three frames that are `dilation` apart. Kernels are [t, y, x, in, out]."""

    def __init__(self, inputs: int, filters: int, dilation: int, rngs: nnx.Rngs):
        init = nnx.initializers.he_normal(in_axis=(0, 1, 2, 3))
        self.space = nnx.Param(init(rngs.params(), (1, 3, 3, inputs, 2 * filters), jnp.float32))
        self.time = nnx.Param(init(rngs.params(), (3, 1, 1, 2 * filters, filters), jnp.float32))
        self.dilation = dilation

    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t h w d"]:
        numbers, d = ("NDHWC", "DHWIO", "NDHWC"), self.dilation
        x = jax.lax.conv_general_dilated(x, self.space[...], (1, 1, 1), ((0, 0), (1, 1), (1, 1)), dimension_numbers=numbers)
        return jax.lax.conv_general_dilated(
            x, self.time[...], (1, 1, 1), ((d, d), (0, 0), (0, 0)), rhs_dilation=(d, 1, 1), dimension_numbers=numbers
        )


class Cell(nnx.Module):
    """All dilations side by side, normalised by the statistics of the training."""

    def __init__(self, inputs: int, filters: int, rngs: nnx.Rngs):
        self.branches = nnx.List([Branch(inputs, filters, dilation, rngs) for dilation in DILATIONS])
        width = len(DILATIONS) * filters
        self.scale, self.bias = nnx.Param(jnp.ones(width)), nnx.Param(jnp.zeros(width))
        self.mean, self.variance = nnx.Param(jnp.zeros(width)), nnx.Param(jnp.ones(width))

    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t h w d"]:
        x = jnp.concatenate([branch(x) for branch in self.branches], axis=-1)
        return (x - self.mean[...]) * (self.scale[...] / jnp.sqrt(self.variance[...] + EPS)) + self.bias[...]


class Stage(nnx.Module):
    """Cells with a shortcut from the first one, then means over 2 x 2 pixels; an odd row or column at the end is left out."""

    def __init__(self, inputs: int, filters: int, cells: int, rngs: nnx.Rngs):
        width = len(DILATIONS) * filters
        self.cells = nnx.List([Cell(width if i else inputs, filters, rngs) for i in range(cells)])

    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t y x d"]:
        first = None
        for i, cell in enumerate(self.cells):
            x = cell(x)
            if i < len(self.cells) - 1:
                x = jax.nn.relu(x)
            first = x if first is None else first
        x = jax.nn.relu(x) + first
        b, t, h, w, c = x.shape
        return x[:, :, : h // 2 * 2, : w // 2 * 2].reshape(b, t, h // 2, 2, w // 2, 2, c).mean((3, 5))


class TransNet(nnx.Module):
    def __init__(self, config: TransNetConfig, rngs: nnx.Rngs):
        self.config = config
        filters = [config.filters * 2**i for i in range(config.stages)]
        widths = [3, *(len(DILATIONS) * f for f in filters)]
        self.stages = nnx.List([Stage(w, f, config.cells, rngs) for w, f in zip(widths, filters, strict=False)])
        init = nnx.initializers.lecun_normal()
        self.projection = Linear(sum(widths[1:]), config.similar, rngs, init=init)
        self.features = Linear(config.window, config.similar, rngs, init=init)
        self.colours = Linear(config.window, config.similar, rngs, init=init)
        cells = (HEIGHT // 2**config.stages) * (WIDTH // 2**config.stages)
        self.joint = Linear(widths[-1] * cells + 2 * config.similar, config.width, rngs, init=init)
        self.one = Linear(config.width, 1, rngs, init=init)
        self.all = Linear(config.width, 1, rngs, init=init)

    def __call__(self, frames: UInt8[Array, "b t 27 48 3"]) -> tuple[Float[Array, "b t"], Float[Array, "b t"]]:
        """Logits that a frame is the one in the middle of a transition, and that it is any frame of one."""
        x, outputs = frames.astype(jnp.float32) / 255, []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        joint = [self._by_colours(frames), self._by_features(outputs), x.reshape(*x.shape[:2], -1)]
        x = jax.nn.relu(self.joint(jnp.concatenate(joint, axis=-1)))
        return self.one(x)[..., 0], self.all(x)[..., 0]

    def _by_features(self, outputs: Sequence[Float[Array, "b t _ _ _"]]) -> Float[Array, "b t s"]:
        x = self.projection(jnp.concatenate([output.mean((2, 3)) for output in outputs], axis=-1))
        return jax.nn.relu(self.features(_similarities(x, self.config.window)))

    def _by_colours(self, frames: UInt8[Array, "b t h w 3"]) -> Float[Array, "b t s"]:
        red, green, blue = jnp.moveaxis(frames.astype(jnp.int32) >> 5, -1, 0)
        bins = ((red << 6) + (green << 3) + blue).reshape(-1, frames.shape[2] * frames.shape[3])
        counts = jax.vmap(lambda row: jnp.bincount(row, length=COLOURS))(bins).astype(jnp.float32)
        return jax.nn.relu(self.colours(_similarities(counts.reshape(*frames.shape[:2], COLOURS), self.config.window)))


def _similarities(x: Float[Array, "b t d"], window: int) -> Float[Array, "b t window"]:
    """Cosines of every frame with those round it; 0 beyond the ends."""
    x = x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
    cosines = jnp.pad(jnp.einsum("btd,bsd->bts", x, x), ((0, 0), (0, 0), (window // 2, window // 2)))
    places = jnp.arange(x.shape[1])[:, None] + jnp.arange(window)
    return jnp.take_along_axis(cosines, jnp.broadcast_to(places, (x.shape[0], *places.shape)), axis=2)
