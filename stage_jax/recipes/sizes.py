"""How large Wan's videos may be: sizes of a given area in a picture's proportions, and the nearest that fit. In pixels,
(height, width); `side` is a token's, the VAE's stride times the patch's."""

from __future__ import annotations

import math

from stage_jax.errors import InputError
from stage_jax.models.dit import DiTConfig
from stage_jax.models.vae_config import VAEConfig

Size = tuple[int, int]
MOST_SIDE = 8192  # of a video; our choice, far beyond what the models were trained at


def token_side(vae: VAEConfig, dit: DiTConfig) -> int:
    """Pixels along a side of a token: 16 for Wan2.1's VAE, 32 for Wan2.2's."""
    return vae.spatial_stride * math.lcm(*dit.kernels[0][1:])


def area_size(area: int, picture: Size, side: int) -> Size:
    """Wan's size for image to video (2.1, A14B): both sides that the picture's proportions have at this area, rounded down.

    In whole numbers; Wan's own floats lose a row of tokens where a side comes out whole (208x120 at 480p: 464 for 480).
    InputError for pictures so narrow that nothing is left of a side.
    """
    return _checked((_side(area, picture, side), _side(area, picture[::-1], side)), picture)


def best_size(area: int, picture: Size, side: int) -> Size:
    """Wan's size for its 5B (`best_output_size`): one side is rounded down as in `area_size`, the other one to what of the area
    is left; of the two ways, that which is nearer to the picture's proportions. InputError as there."""
    height, width = _side(area, picture, side), _side(area, picture[::-1], side)
    _checked((height, width), picture)
    ways = (height, area // height // side * side), (area // width // side * side, width)
    return min(ways, key=lambda size: abs(math.log(size[0] * picture[1] / (size[1] * picture[0]))))


def nearest_size(size: Size, side: int) -> Size:
    """The nearest size that the VAE and the patches divide."""
    height, width = (min(max(round(length / side), 1), MOST_SIDE // side) * side for length in size)
    return height, width


def nearest_frames(frames: int, vae: VAEConfig) -> int:
    """The nearest number of frames that the VAE divides: 4n + 1."""
    stride = vae.temporal_stride
    return max(round((frames - 1) / stride), 0) * stride + 1


def check_size(size: Size, side: int) -> None:
    """InputError names the nearest size, as Wan's program writes sizes: W*H."""
    if (nearest := nearest_size(size, side)) != size:
        fits = f"multiples of {side} up to {MOST_SIDE}; the nearest is {nearest[1]}*{nearest[0]}"
        raise InputError(f"size (W*H): found {size[1]}*{size[0]}, expected {fits}")


def check_frames(frames: int, vae: VAEConfig) -> None:
    """InputError names the nearest number of frames."""
    if (nearest := nearest_frames(frames, vae)) != frames:
        expected = f"1 + a multiple of {vae.temporal_stride}; the nearest is {nearest}"
        raise InputError(f"number of frames: found {frames}, expected {expected}")


def _side(area: int, picture: Size, side: int) -> int:
    """The first side that these proportions have at this area, rounded down."""
    return math.isqrt(area * picture[0] // picture[1]) // side * side


def _checked(size: Size, picture: Size) -> Size:
    if 0 in size:
        raise InputError(f"a picture of {picture[1]}x{picture[0]} pixels: too narrow for a video, expected other proportions")
    return size
