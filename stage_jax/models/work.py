"""How much there is to compute, by formula: what the compiler counts of a scanned model is one layer of it."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from stage_jax.models.dit import DiTConfig

TRAINING = 3  # a step's FLOPs over those of its forward pass; what is computed twice counts once, as elsewhere


@dataclass(frozen=True)
class Work:
    """tokens that went through the model, and its products and sums."""

    tokens: int = 0
    flops: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(self.tokens + other.tokens, self.flops + other.flops)


def dit_work(config: DiTConfig, examples: int, tokens: int, image_tokens: int = 0) -> Work:
    """A training step of a DiT on `examples` sequences of so many tokens, padding included, with a caption each.

    Two FLOPs a multiplication; what is not a product of matrices is left out, and so are the time embedding and modulation,
    which do not grow with the tokens.
    """
    dim, text, patch = config.dim, config.text_len, prod(config.kernels[0])
    projections = 4 * tokens * dim + 2 * tokens * dim  # of self-attention; of cross-attention, the queries' side
    keys_and_values = 2 * (text + image_tokens) * dim
    attention = 2 * tokens * (tokens + text + image_tokens)
    layer = projections * dim + keys_and_values * dim + attention * dim + 2 * tokens * dim * config.ffn_dim
    ends = tokens * patch * (config.in_channels + config.out_channels) * dim + text * (config.text_dim + dim) * dim
    if config.image_dim is not None:
        ends += image_tokens * config.image_dim * (config.image_dim + dim)
    return Work(examples * tokens, 2.0 * TRAINING * examples * (config.layers * layer + ends))
