"""The main job on Wan's own weights, in the layouts that they are published in: tiny random ones, from a story to a film."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import jax
import numpy as np
import pytest
from flax import nnx
from PIL import Image

from stage_jax.cli import main as cli
from stage_jax.film.video import film_scale, read_video
from stage_jax.generate import wan_filler
from stage_jax.generate.models import NO_STEP2
from stage_jax.generate.wan_clips import at_rate
from stage_jax.models.dit import DiT
from stage_jax.models.stacking import flat_params
from stage_jax.story.types import Frame, Location, Scene, Shot, Story, story_to_json
from stage_jax.weights.folder import write_part
from tests.film.test_make import names
from tests.generate.models import SAMPLING
from tests.generate.videos import FORMS, write_wan
from tests.goldens import drawn

SIZE = (16, 32)  # height, width
SHOTS = ("SC01_SH010", "SC01_SH020")
LAYOUTS = ("original", "diffusers", "ours")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(wan_filler, "SMALL", SIZE)
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A first/last-frame pipeline with CLIP in every layout, a text-to-video one, a STEP2, a story, and its pairs."""
    folder = tmp_path_factory.mktemp("wan")
    write_wan(folder / "ours", "flf2v-2.1")
    write_wan(folder / "t2v", "t2v")
    for layout in LAYOUTS[:2]:
        assert cli.main(["export", str(folder / "ours"), str(folder / layout), "--format", layout]) == 0
    step2 = FORMS["t2v"]
    recipe = {"ranking": "latent", "anchors": False, "hints": False}
    params = flat_params(drawn(nnx.eval_shape(lambda: DiT(step2, nnx.Rngs(0)))))
    write_part(folder / "step2", "step2", step2, params, sampling=SAMPLING | {"size": list(SIZE), "recipe": recipe})
    shots = (Shot("SH010", "a red bear walks", seconds=0.5), Shot("SH020", "a bear", seconds=0.3))
    story = Story("Bears", fps=24.0, locations=(Location("a", "A"),), scenes=(Scene("SC01", location="a", shots=shots),))
    (folder / "story.json").write_text(json.dumps(story_to_json(story)))
    (folder / "pairs").mkdir()
    rng = np.random.default_rng(0)
    for name in SHOTS:
        for which in ("start", "end"):
            Image.fromarray(rng.integers(0, 256, (*SIZE, 3), np.uint8)).save(folder / "pairs" / f"{name}_{which}.png")
    return folder


def film(place: Path, model: str, out: Path, *flags: str) -> int:
    story, weights = str(place / "story.json"), str(place / model)
    return cli.main(["film", story, "--out", str(out), "--model", weights, "--steps", "2", *flags])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_from_a_story_to_a_film(place: Path, tmp_path: Path, layout: str, capsys: pytest.CaptureFixture) -> None:
    """Clips have the seconds that the story asks for (at Wan's 16 frames a second: 9 and 5), at the film's rate."""
    out = tmp_path / "out"
    assert film(place, layout, out, "--step2", str(place / "step2")) == 0, capsys.readouterr().err
    assert {"film.mp4", "board.html", "storyboard.pdf", "film.otio"} <= names(out)
    facts = json.loads((out / "manifest.json").read_text())
    assert set(facts["models"]) == {"vae", "umt5", "dit", "clip", "step2"}
    assert [shot["pair"]["by"] for shot in facts["shots"]] == ["step2"] * 2
    assert [shot["clip"]["frames"] for shot in facts["shots"]] == [13, 7]
    assert facts["settings"]["sampling"]["dit"]["shift"] == 16
    with av.open(str(out / "film.mp4")) as container:
        (stream,) = container.streams.video
        assert stream.average_rate == 24 and sum(1 for _ in container.decode(stream)) == 20
    shown = [Image.open(out / "frames" / f"{name}_start.png") for name in SHOTS]
    assert [picture.size for picture in shown] == [SIZE[::-1]] * 2 and np.asarray(shown[0]).std() > 5


@pytest.mark.slow
def test_layouts_give_the_same_film_of_given_pairs(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Without a STEP2; nothing is drawn. Run again, finished clips are found."""
    for layout in LAYOUTS:
        assert film(place, layout, tmp_path / layout, "--pairs", str(place / "pairs")) == 0, capsys.readouterr().err
    facts = [json.loads((tmp_path / layout / "manifest.json").read_text())["shots"] for layout in LAYOUTS]
    pixels = [[(shot["clip"]["frames"], shot["clip"]["pixels"]) for shot in shots] for shots in facts]
    assert pixels[0] == pixels[1] == pixels[2] and [frames for frames, _ in pixels[0]] == [13, 7]
    kept = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "ours" / ".work").iterdir()}
    assert len(kept) == 2 and film(place, "ours", tmp_path / "ours", "--pairs", str(place / "pairs")) == 0
    assert {file.name: file.stat().st_mtime_ns for file in (tmp_path / "ours" / ".work").iterdir()} == kept


@pytest.mark.slow
def test_landing(place: Path, tmp_path: Path) -> None:
    """Asked for by the flag, or by model.json, it brings the end of a clip nearer to the given frame."""
    write_wan(place / "landing", "flf2v-2.1", landing=20)
    given = np.asarray(Image.open(place / "pairs" / f"{SHOTS[1]}_end.png")).astype(float)
    far = []
    for number, (model, flags) in enumerate((("ours", ()), ("landing", ("--landing", "0")), ("landing", ()))):
        out = tmp_path / str(number)
        assert film(place, model, out, "--pairs", str(place / "pairs"), *flags) == 0
        scale = film_scale(*SIZE)
        far.append(np.abs(read_video(out / "film.mp4")[-1, ::scale, ::scale] - given).mean())
    assert far[2] < far[1] == far[0]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_without_step2_it_is_said_what_works(place: Path, tmp_path: Path, layout: str, capsys: pytest.CaptureFixture) -> None:
    assert film(place, layout, tmp_path / "out") == 2
    told = capsys.readouterr()
    assert told.err == f"stage: {place / layout}: {NO_STEP2}\n" and not (tmp_path / "out").exists()
    assert all(way in told.err for way in ("none is published", "Train one", "--step2", "--pairs"))


def test_what_does_not_fit(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    def line(model: str, out: Path, *flags: str) -> str:
        assert film(place, model, out, *flags) == 2 and not (tmp_path / "out").exists()
        told = capsys.readouterr()
        assert told.out == "" and told.err.count("\n") == 1
        return told.err

    out, pairs = tmp_path / "out", ("--pairs", str(place / "pairs"))
    assert "t2v: no clips between two frames (the model takes no pictures" in line("t2v", out, *pairs)
    assert "model.json: not found, expected a model folder" in line("nowhere", out)
    (tmp_path / "empty").mkdir()
    assert f"{tmp_path / 'empty'}: " in line(str(tmp_path / "empty"), out)
    for said, expected in (
        ({"frames": 8}, "number of frames: found 8, expected 1 + a multiple of 4"),
        ({"frames": 1}, "number of frames: found 1, expected at least 5"),
        ({"landing": -1}, "landing: found -1, expected a whole number from 0 to 1000"),
        ({"solver": "best"}, "solver: found 'best', expected one of"),
        ({"size": [16, 20]}, "size (W*H): found 20*16, expected multiples of 8"),
    ):
        manifest = json.loads((place / "ours" / "model.json").read_text())
        manifest["parts"]["dit"]["sampling"] = said
        shutil.copytree(place / "ours", tmp_path / "said")
        (tmp_path / "said" / "model.json").write_text(json.dumps(manifest))
        assert f"said: {expected}" in line(str(tmp_path / "said"), out, *pairs)
        shutil.rmtree(tmp_path / "said")
    for name, config, size, expected in (
        ("wide", replace(FORMS["t2v"], text_dim=12), SIZE, "width of the text encoder: found 8, it takes 12"),
        ("odd", FORMS["t2v"], (16, 20), "found [16, 20], expected height and width, multiples of 16"),
    ):
        params = flat_params(drawn(nnx.eval_shape(lambda config=config: DiT(config, nnx.Rngs(0)))))
        write_part(tmp_path / name, "step2", config, params, sampling=SAMPLING | {"size": list(size)})
        assert expected in line("original", out, "--step2", str(tmp_path / name))


def test_what_the_film_has_not_is_said(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """A shot that is longer than the filler's clips, and frames that the film's rate leaves out. The film has the
    proportions of its pairs, here upright ones."""
    write_wan(tmp_path / "short", "flf2v-2.1", frames=9)
    story = Story("T", scenes=(Scene("SC01", shots=(Shot("SH010", "a bear", seconds=9.0, start=Frame("a bear")),)),))
    (tmp_path / "story.json").write_text(json.dumps(story_to_json(story)))
    (tmp_path / "pairs").mkdir()
    for which in ("start", "end"):
        Image.new("RGB", (160, 320), (9, 99, 199)).save(tmp_path / "pairs" / f"SC01_SH010_{which}.png")
    flags = ["--pairs", str(tmp_path / "pairs"), "--out", str(tmp_path / "out"), "--steps", "1"]
    assert cli.main(["film", str(tmp_path / "story.json"), "--model", str(tmp_path / "short"), *flags]) == 0
    told = capsys.readouterr().err
    assert "clips of 0.5 s, the longest that the filler makes: SC01_SH010" in told
    assert "the film has 8 frames a second of the 16 that the filler makes" in told
    assert "do not go by start.prompt\n" in told
    assert len(read_video(tmp_path / "out" / "film.mp4")) == 5  # half a second at 8, with both ends
    assert Image.open(tmp_path / "out" / "frames" / "SC01_SH010_start.png").size == (16, 32)


def test_frames_at_another_rate() -> None:
    clip = np.arange(33, dtype=np.uint8)[:, None, None, None].repeat(3, 3)
    assert at_rate(clip, 16.0, 16.0).shape == clip.shape and (at_rate(clip, 16.0, 16.0) == clip).all()
    assert at_rate(clip, 16.0, 8.0)[:, 0, 0, 0].tolist() == list(range(0, 33, 2))
    faster = at_rate(clip, 16.0, 24.0)[:, 0, 0, 0]
    assert len(faster) == 49 and faster[[0, 3, -1]].tolist() == [0, 2, 32] and (np.diff(faster.astype(int)) >= 0).all()
