"""What each of Wan's models takes, and its defaults, by its form."""

from __future__ import annotations

import pytest

from stage_jax.errors import InputError
from stage_jax.models.zoo import DITS
from stage_jax.recipes.tasks import NEGATIVE, check_pictures, negative_prompt, released_like
from stage_jax.sampling.defaults import DEFAULTS

NONE, FIRST, LAST, BOTH = (False, False), (True, False), (False, True), (True, True)
TAKES = {
    "wan2.1-t2v-14b": {NONE},
    "wan2.1-i2v-14b": {FIRST},
    "wan2.1-flf2v-14b": {BOTH},
    "wan2.2-t2v-a14b": {NONE},
    "wan2.2-i2v-a14b": {FIRST, BOTH},
    "wan2.2-ti2v-5b": {NONE, FIRST},
    "tiny-flf2v": {FIRST, BOTH},
}


@pytest.mark.parametrize("name", TAKES)
@pytest.mark.parametrize("pictures", [NONE, FIRST, LAST, BOTH])
def test_pictures(name: str, pictures: tuple[bool, bool]):
    if pictures in TAKES[name]:
        check_pictures(DITS[name], *pictures)
    else:
        with pytest.raises(InputError, match="pictures?|first one"):
            check_pictures(DITS[name], *pictures)


@pytest.mark.parametrize("name", DEFAULTS)
def test_release(name: str):
    """Wan's own models are sampled as they are released; the two sizes of text to video are sampled alike."""
    like = released_like(DITS[name], 2 if "a14b" in name else 1)
    assert like == name or DEFAULTS[like] == DEFAULTS[name]


def test_negative_prompts():
    """Wan2.1's image models avoid a shaking camera too, and the one between two pictures cuts."""
    assert len(NEGATIVE) == 137 and NEGATIVE.startswith("色调艳丽，过曝") and NEGATIVE.endswith("倒着走")
    found = {name: negative_prompt(DITS[name]).removesuffix(NEGATIVE) for name in DEFAULTS}
    assert found.pop("wan2.1-i2v-14b") == "镜头晃动，"
    assert found.pop("wan2.1-flf2v-14b") == "镜头切换，镜头晃动，"
    assert set(found.values()) == {""}
