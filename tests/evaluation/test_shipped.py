"""The models that come with the code, on the stories that come with it: weights of noise would not pass here."""

from __future__ import annotations

from pathlib import Path

import pytest

import stage_jax
from stage_jax.cli.main import main
from stage_jax.evaluation.demo import demo_figures
from stage_jax.film.video import count_frames
from stage_jax.generate.models import load_models
from stage_jax.generate.pairs import PairSampler

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


def test_a_real_film_goes_through(tmp_path: Path):
    """Ingest finds four shots; the shipped story with their frames becomes a film of four clips."""
    assert main(["data", "ingest", str(FILM), "--out", str(tmp_path / "shots")]) == 0
    story, out = ASSETS / "bunny.json", tmp_path / "film"
    assert main(["film", str(story), "--pairs", str(tmp_path / "shots"), "--out", str(out)]) == 0
    assert len(list((out / "clips").glob("*.mp4"))) == 4
    assert count_frames(out / "film.mp4") == 4 * CLIP_FRAMES
