"""PSNR of known pictures, and of stories under codecs whose loss is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stage_jax.evaluation.held_out import figures_mask
from stage_jax.evaluation.psnr import psnr
from stage_jax.evaluation.vae import vae_figures
from tests.evaluation.oracles import PatchCodec, bare, patch_codec, story


def test_psnr_of_a_known_difference():
    truth = np.full((3, 8, 8, 3), 100, np.uint8)
    pictures = truth.copy()
    pictures[1] += 16
    pictures[2, :4] += 16
    found = psnr(pictures, truth)
    assert found[0] == 100
    assert found[1] == pytest.approx(20 * math.log10(255 / 16))
    assert found[2] == pytest.approx(20 * math.log10(255 / 16) + 10 * math.log10(2))
    where = np.zeros((3, 8, 8), bool)
    where[:, :4] = True
    assert psnr(pictures, truth, where)[2] == pytest.approx(found[1])
    assert psnr(pictures, truth, ~where)[2] == 100
    assert np.isnan(psnr(pictures, truth, where & False)).all()


class DimFigures(PatchCodec):
    """Still pictures come back whole; of clips every frame after the first is 8 darker everywhere."""

    def decode_clips(self, latents):
        clips = np.asarray(latents[0]).astype(np.int16)
        clips[:, 1:] -= 8
        return clips.clip(0, 255).astype(np.uint8)


def test_first_and_later_frames_are_told_apart():
    figures = {f.name: f for f in vae_figures(bare(DimFigures), [story(1, clips=True)])}
    n = len(story(1).toy.shots)
    assert figures["vae: stills: PSNR"].value == 100 and figures["vae: stills: PSNR"].n == 4 * n
    assert figures["vae: clips, frame 0: PSNR"].value == 100 and figures["vae: clips, frame 0: PSNR"].n == n
    later = figures["vae: clips, later frames: PSNR"]
    assert later.n == 16 * n and later.value == pytest.approx(20 * math.log10(255 / 8), abs=0.3)


def test_records_without_clips_have_stills_alone():
    figures = vae_figures(patch_codec(), [story(1), story(2)])
    assert {f.measure for f in figures} == {"stills", "stills, read by the probe"} and all(f.stories == 2 for f in figures)


class Grey(PatchCodec):
    """Every second picture comes back without its colours."""

    def decode_stills(self, latents):
        pictures = super().decode_stills(latents)
        pictures[1::2] = pictures[1::2].mean(-1, keepdims=True).astype(np.uint8)
        return pictures


def test_what_the_probe_reads_of_stills():
    held = story(4)
    whole, grey = ({f.name: f for f in vae_figures(bare(codec), [held])} for codec in (PatchCodec, Grey))
    shots, seen = len(held.toy.shots), sum(len(shot.characters) for shot in held.toy.shots)
    assert seen > shots  # somebody stands beside another one
    for what in ("colour", "shape", "hat", "place"):
        figure = whole[f"vae: stills, read by the probe: {what}"]
        assert figure.value == 1 and figure.n == 2 * (shots if what == "place" else seen)
    # Stills are start, end and two between: of every shot the end frame is grey.
    assert 0.5 <= grey["vae: stills, read by the probe: colour"].value < 0.75


def test_the_mask_is_where_a_figure_is():
    held = story(3)
    start, end = (figures_mask(held.toy, 0, phase, 64) for phase in (0.0, 1.0))
    changed = (held.pairs[0, 0] != held.pairs[0, 1]).any(-1)
    assert 0.05 < start.mean() < 0.6 and (start != end).any()
    assert (changed & ~(start | end)).sum() < 0.1 * changed.sum()  # only half-covered edges lie outside
