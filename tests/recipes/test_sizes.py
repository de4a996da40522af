"""Sizes and frame counts: Wan's rules, and the nearest that fit."""

from __future__ import annotations

import itertools
import math

import pytest

from stage_jax.errors import InputError
from stage_jax.models.vae_config import VAEConfig
from stage_jax.models.zoo import DITS
from stage_jax.recipes.sizes import (
    area_size,
    best_size,
    check_frames,
    check_size,
    nearest_frames,
    nearest_size,
    token_side,
)

SMALL, LARGE, LARGE_5B = 480 * 832, 720 * 1280, 704 * 1280
PICTURES = [*itertools.product((120, 333, 480, 720, 1080), repeat=2), (2160, 3840), (100, 900)]


def test_token_sides():
    assert token_side(VAEConfig(), DITS["wan2.1-t2v-14b"]) == 16
    assert token_side(VAEConfig(multipliers=(1, 1, 1, 1, 1), temporal_down=(False,) * 4), DITS["wan2.2-ti2v-5b"]) == 32


@pytest.mark.parametrize(
    ("area", "picture", "expected"),
    [
        (SMALL, (480, 832), (480, 832)),
        (SMALL, (832, 480), (832, 480)),
        (LARGE, (720, 1280), (720, 1280)),
        (SMALL, (1080, 1920), (464, 832)),  # 473.97... x 842.6...
        (SMALL, (600, 600), (624, 624)),
        (SMALL, (120, 208), (480, 832)),  # Wan's floats: 464, 832
        (SMALL, (1, 100), (48, 6304)),
    ],
)
def test_area_size(area: int, picture: tuple[int, int], expected: tuple[int, int]):
    assert area_size(area, picture, 16) == expected


@pytest.mark.parametrize(("area", "picture"), [*itertools.product((SMALL, LARGE), PICTURES)])
def test_area_size_is_wans(area: int, picture: tuple[int, int]):
    """The rule of Wan's image2video in floats, nudged up by a part in 10^12 where it comes out whole."""
    ratio = picture[0] / picture[1]
    sides = (math.sqrt(area * r) * (1 + 1e-12) // 8 // 2 * 2 * 8 for r in (ratio, 1 / ratio))
    assert area_size(area, picture, 16) == tuple(sides)


@pytest.mark.parametrize(
    ("picture", "expected"),
    [((704, 1280), (704, 1280)), ((1280, 704), (1280, 704)), ((1080, 1920), (704, 1248)), ((500, 500), (928, 960))],
)
def test_best_size(picture: tuple[int, int], expected: tuple[int, int]):
    assert best_size(LARGE_5B, picture, 32) == expected


@pytest.mark.parametrize("picture", PICTURES)
def test_best_size_is_wans(picture: tuple[int, int]):
    """The rule of Wan's `best_output_size` in floats: width first, or height first, whichever is nearer."""
    h, w = picture
    oh, ow = (math.sqrt(LARGE_5B * r) * (1 + 1e-12) for r in (h / w, w / h))
    width = ow // 32 * 32
    height = oh // 32 * 32
    ways = ((LARGE_5B / width // 32 * 32, width), (height, LARGE_5B / height // 32 * 32))
    off = [max(w / h / (x / y), (x / y) / (w / h)) for y, x in ways]
    assert best_size(LARGE_5B, picture, 32) == ways[0 if off[0] < off[1] else 1]


def test_too_narrow():
    for rule in (area_size, best_size):
        with pytest.raises(InputError, match="9000x1 pixels: too narrow"):
            rule(SMALL, (1, 9000), 16)


def test_nearest():
    assert nearest_size((470, 840), 16) == (464, 832) and nearest_size((1, 99999), 32) == (32, 8192)
    nearest = {-3: 1, 0: 1, 1: 1, 2: 1, 4: 5, 80: 81, 81: 81, 82: 81, 120: 121}
    assert {frames: nearest_frames(frames, VAEConfig()) for frames in nearest} == nearest
    check_size((480, 832), 16)
    check_frames(81, VAEConfig())
    with pytest.raises(InputError, match=r"found 840\*470, expected multiples of 16 up to 8192; the nearest is 832\*464"):
        check_size((470, 840), 16)
    with pytest.raises(InputError, match="found 80, expected 1 . a multiple of 4; the nearest is 81"):
        check_frames(80, VAEConfig())
