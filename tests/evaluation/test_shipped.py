"""The models that come with the code, on the stories that come with it: weights of noise would not pass here."""

from __future__ import annotations

from pathlib import Path

import pytest

import stage_jax
from stage_jax.cli.main import main
from stage_jax.evaluation.demo import demo_figures
from stage_jax.evaluation.filler import filler_figures
from stage_jax.evaluation.history import true_histories
from stage_jax.evaluation.step2 import history_figures
from stage_jax.evaluation.vae import vae_figures
from stage_jax.film.video import count_frames
from stage_jax.generate.clips import ClipSampler
from stage_jax.generate.models import load_models
from stage_jax.generate.pairs import PairSampler
from tests.evaluation.oracles import story

pytestmark = pytest.mark.slow
ASSETS = Path(stage_jax.__file__).parent / "assets"
FILM = Path(__file__).parents[1] / "data" / "big_buck_bunny_160x90.mp4"
CLIP_FRAMES = 17


def test_the_demo_story_is_drawn():
    """At least six shots; in most appearances the probe reads the right colour and place, where chance is one in 24."""
    models = load_models(ASSETS / "tiny", fill=False)
    figures, (board,) = demo_figures(models, PairSampler(models.step2, models.captions), ASSETS / "demo.fountain", [0])
    shares = {figure.what: figure.value for figure in figures if figure.measure == "seed 0"}
    assert len(board.shots) >= 6
    assert shares["body colour"] >= 0.8 and shares["place"] >= 0.8


def test_twenty_stories_are_remembered():
    """STEP2 beside the true history, at its goals less what chance may take on so few stories; and nothing without memory."""
    models, held = load_models(ASSETS / "tiny", fill=False), [story(seed) for seed in range(20)]
    sampler = PairSampler(models.step2, models.captions)
    figures, _ = history_figures(sampler, models.codec, true_histories(models.codec, held))
    found = {figure.name: figure.value for figure in figures}
    least = {"colour": 0.88, "shape": 0.88, "hat": 0.88, "place": 0.97}
    held_on_to = {what: found[f"step2: true history: {what}"] for what in least}
    assert all(held_on_to[what] >= least[what] for what in least), held_on_to
    assert all(found[f"step2: memory off: {what}"] < 0.5 for what in least)


def test_the_vae_and_the_filler_keep_their_figures():
    """On two stories: stills and clips are sharp, clips end on their pairs, and figures between move as they should."""
    models, held = load_models(ASSETS / "tiny", draw=False), [story(seed, clips=True) for seed in (0, 1)]
    figures = vae_figures(models.codec, held) + filler_figures(ClipSampler(models), models.codec, held)[0]
    found = {figure.name: figure.value for figure in figures}
    assert found["vae: stills: PSNR"] >= 29.5 and found["vae: clips, later frames: PSNR"] >= 26.5
    for end in ("first", "last"):
        assert found[f"filler: {end} frame to the given picture: filler - VAE of the pair"] >= -1.5
    assert found["filler: position error of inner frames: filler / cross-fade"] <= 0.5


def test_a_real_film_goes_through(tmp_path: Path):
    """Ingest finds four shots; the shipped story with their frames becomes a film of four clips."""
    assert main(["data", "ingest", str(FILM), "--out", str(tmp_path / "shots")]) == 0
    path, out = ASSETS / "bunny.json", tmp_path / "film"
    assert main(["film", str(path), "--pairs", str(tmp_path / "shots"), "--out", str(out)]) == 0
    assert len(list((out / "clips").glob("*.mp4"))) == 4
    assert count_frames(out / "film.mp4") == 4 * CLIP_FRAMES
