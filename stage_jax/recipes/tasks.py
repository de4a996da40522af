"""What a Wan DiT can be asked for, by its form: which pictures it takes, how its release is called and what it avoids."""

from __future__ import annotations

from stage_jax.errors import InputError
from stage_jax.models.dit import DiTConfig
from stage_jax.recipes.wan import MASK_CHANNELS

TI2V_CHANNELS = 48  # of Wan2.2's own VAE; the model of that latent takes the first picture without channels for it

# `sample_neg_prompt` of Wan's configs, with what those of its 2.1 image models put before it: no shaking camera, no cuts.
NEGATIVE = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，JPEG压缩残留，"
    "丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，"
    "静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走"
)
NO_SHAKING, NO_CUTS = "镜头晃动，", "镜头切换，"


def takes_pictures(dit: DiTConfig) -> bool:
    """Whether the input has channels for given pictures: a mask and their latent."""
    return dit.in_channels == 2 * dit.out_channels + MASK_CHANNELS


def released_like(dit: DiTConfig, experts: int = 1) -> str:
    """The released model (a name of the zoo) of this form, whose ways of sampling are the defaults for it."""
    if takes_pictures(dit):
        if dit.image_dim is None:
            return "wan2.2-i2v-a14b"
        return "wan2.1-i2v-14b" if dit.image_positions is None else "wan2.1-flf2v-14b"
    if dit.out_channels == TI2V_CHANNELS:
        return "wan2.2-ti2v-5b"
    return "wan2.1-t2v-14b" if experts == 1 else "wan2.2-t2v-a14b"


def negative_prompt(dit: DiTConfig) -> str:
    """What videos of this model are led away from unless the user says otherwise."""
    if dit.image_dim is None:
        return NEGATIVE
    return f"{NO_SHAKING if dit.image_positions is None else NO_CUTS + NO_SHAKING}{NEGATIVE}"


def check_pictures(dit: DiTConfig, first: bool, last: bool) -> None:
    """InputError unless the model takes what is given: a first picture, a last one, both or none."""
    if last and not first:
        raise InputError("a last picture without a first one: Wan's models take the first, or both")
    if not takes_pictures(dit) and (last or (first and dit.out_channels != TI2V_CHANNELS)):
        kind = "one picture, the first" if dit.out_channels == TI2V_CHANNELS else "no pictures (text to video)"
        raise InputError(f"the model takes {kind}; found a {'last' if last else 'first'} one")
    if takes_pictures(dit) and not first:
        raise InputError("the model makes videos of pictures: expected a first one (--image, or --first_frame)")
    if dit.image_dim is not None and last != (dit.image_positions is not None):
        expected = "the first picture only (image to video)" if last else "a last picture too (first/last frame to video)"
        raise InputError(f"the model takes {expected}")
