"""The main job from a story's file to a folder with a film, on models of random weights."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stage_jax import files
from stage_jax.cli import main as cli
from stage_jax.errors import InputError
from stage_jax.film import make
from stage_jax.film.choices import Choices
from stage_jax.film.make import make_film, unused_fields, warnings
from stage_jax.film.png import write_png
from stage_jax.film.storyboarder import storyboarder_names
from stage_jax.film.video import count_frames, read_video
from stage_jax.generate.clips import ClipSampler
from stage_jax.generate.models import load_models
from stage_jax.generate.pairs import PairSampler
from stage_jax.models.tokenizer import WordTokenizer
from stage_jax.story.board import Board
from stage_jax.story.pairs import read_picture
from stage_jax.story.readers import read_story
from stage_jax.story.types import Character, Frame, Story, story_to_json
from tests.film.test_by_model import serving
from tests.generate.models import FRAMES, SAMPLING, VOCABULARY, make_story, write_models
from tests.training import sizes

SIDE = sizes.SIDE
NAMES = ["SC01_SH010", "SC01_SH020", "SC02_SH010"]
FILES = {
    "story.json", "board.html", "manifest.json", "film.mp4", "sheet.png", "animatic.mp4", "storyboard.pdf",
    "film.otio", "film.edl", "film.fcpxml", *storyboarder_names(NAMES),
    *(f"frames/{name}_{which}.png" for name in NAMES for which in ("start", "end")),
    *(f"clips/{name}.mp4" for name in NAMES),
}  # fmt: skip


class Said:
    """Keeps what was reported."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, int, int]] = []
        self.lines: list[str] = []

    def step(self, label: str, done: int, total: int) -> None:
        self.steps.append((label, done, total))

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("film")
    write_models(folder / "model")
    for name, story in (("story", make_story()), ("strange", make_story(last="Tom dances on the beech."))):
        (folder / f"{name}.json").write_text(json.dumps(story_to_json(story)))
    return folder


def film(
    place: Path, out: Path, *, story: str = "story.json", seed: int = 0, pairs: Path | None = None, said=None, **how: object
) -> Board:
    return make_film(place / story, out, said or Said(), model=place / "model", pairs=pairs, seed=seed, **how)


@pytest.fixture(scope="module")
def board(place: Path) -> Board:
    said = Said()
    board = film(place, place / "out", said=said)
    assert said.steps == [(label, i, 3) for label in ("pairs", "clips") for i in (1, 2, 3)] and said.lines == []
    return board


@pytest.fixture(scope="module")
def made(place: Path, board: Board) -> Path:
    return place / "out"


def names(folder: Path) -> set[str]:
    """Its files, but for the finished work that the next run may need."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {str(path) for path in found if ".work" not in path.parts}


def pngs(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names(folder) if name.endswith(".png")}


def test_everything_is_there(made: Path):
    assert names(made) == FILES
    beside = {path.name for path in made.parent.iterdir()}
    assert beside == {"model", "story.json", "strange.json", "out"}  # nothing half-made
    assert json.loads((made / "story.json").read_text()) == story_to_json(make_story())
    assert count_frames(made / "film.mp4") == 3 * FRAMES
    assert [count_frames(made / "clips" / f"{name}.mp4") for name in NAMES] == [FRAMES] * 3
    assert read_picture(made / "frames" / "SC01_SH010_start.png").shape == (SIDE, SIDE, 3)
    facts = json.loads((made / "manifest.json").read_text())
    assert set(facts["files"]) == FILES - {"board.html", "manifest.json"}
    assert facts["models"].keys() == {"vae", "umt5", "dit", "step2"}
    assert facts["settings"]["sampling"]["step2"]["steps"] == SAMPLING["steps"]
    page = (made / "board.html").read_text()
    assert all(name in page for name in NAMES) and "Mia walks right on the beach." in page


def test_the_film_is_the_clips_one_after_another(made: Path):
    whole = read_video(made / "film.mp4").astype(int)
    parts = np.concatenate([read_video(made / "clips" / f"{name}.mp4") for name in NAMES]).astype(int)
    assert whole.shape == parts.shape and np.abs(whole - parts).mean() < 4  # both are lossy


def test_same_seed_same_bytes(place: Path, made: Path, tmp_path: Path):
    film(place, tmp_path / "again")
    assert pngs(tmp_path / "again") == pngs(made)
    film(place, tmp_path / "other", seed=1)
    frames = [name for name in pngs(made) if name.startswith("frames/SC01_SH010")]
    assert all(pngs(tmp_path / "other")[name] != pngs(made)[name] for name in frames)


KILLED = """
import os, signal, sys
from pathlib import Path
from stage_jax.film.make import make_film

class Progress:
    def step(self, label, done, total):
        if (label, done) == (sys.argv[1], 2):
            os.kill(os.getpid(), signal.SIGKILL)

    def say(self, line):
        pass

make_film(Path("story.json"), Path(sys.argv[2]), Progress(), model=Path("model"), seed=0)
"""


@pytest.mark.slow
def test_a_killed_film_goes_on_and_ends_with_the_same_bytes(place: Path, made: Path, tmp_path: Path):
    """By SIGKILL, among the pairs and then among the clips: no time to clean up."""
    out = tmp_path / "out"
    for label, done in (("pairs", 2), ("clips", 3 + 2)):
        ran = subprocess.run(
            [sys.executable, "-c", KILLED, label, str(out)], cwd=place, capture_output=True, text=True, check=False,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "JAX_PLATFORMS": "cpu"},
        )  # fmt: skip
        assert ran.returncode == -signal.SIGKILL, ran.stderr
        kept = [np.load(file).files for file in (out / ".work").glob("*.npz")]
        assert sum("frames" in parts or "clip" in parts for parts in kept) == done and names(out) == set()
    film(place, out)
    assert {name: (out / name).read_bytes() for name in names(out)} == {name: (made / name).read_bytes() for name in FILES}


def test_other_files_stay(place: Path, tmp_path: Path):
    out = tmp_path / "out"
    (out / "frames").mkdir(parents=True)
    (out / "frames" / "mine.png").write_bytes(b"mine")
    (out / "film.mp4").write_bytes(b"old")
    film(place, out)
    assert names(out) == FILES | {"frames/mine.png"}
    assert (out / "frames" / "mine.png").read_bytes() == b"mine" and (out / "film.mp4").read_bytes() != b"old"


def test_unknown_words(place: Path, tmp_path: Path):
    """Drawing is refused before anything is written; given pairs only bring a warning."""
    with pytest.raises(InputError, match=r"strange.json: .*dances.*beech \(near: beach"):
        film(place, tmp_path / "out", story="strange.json")
    assert list(tmp_path.iterdir()) == []


def test_given_pairs(place: Path, tmp_path: Path):
    rng = np.random.default_rng(0)
    (tmp_path / "pairs").mkdir()
    for name in NAMES:
        for which in ("start", "end"):
            write_png(tmp_path / "pairs" / f"{name}_{which}.png", rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))
    said = Said()
    board = film(place, tmp_path / "out", story="strange.json", pairs=tmp_path / "pairs", said=said)
    (line,) = said.lines
    assert line.startswith("warning: ") and "dances" in line and "beech" in line
    assert [shot.source for shot in board.shots] == ["given"] * 3
    assert names(tmp_path / "out") == FILES and {label for label, *_ in said.steps} == {"clips"}
    given = read_picture(tmp_path / "pairs" / f"{NAMES[1]}_end.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "out" / "frames" / f"{NAMES[1]}_end.png"), given)
    facts = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert facts["models"].keys() == {"vae", "umt5", "dit"} and facts["shots"][0]["pair"]["by"] == "given"

    first = (tmp_path / "out" / "frames" / f"{NAMES[0]}_end.png").read_bytes()
    for name in NAMES[:2]:
        write_png(tmp_path / "pairs" / f"{name}_end.png", rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))
    board = film(place, tmp_path / "out", pairs=tmp_path / "pairs", choices=Choices(lock=[NAMES[0]]))
    assert [shot.source for shot in board.shots] == ["kept", "given", "given"]
    assert (tmp_path / "out" / "frames" / f"{NAMES[0]}_end.png").read_bytes() == first
    given = read_picture(tmp_path / "pairs" / f"{NAMES[1]}_end.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "out" / "frames" / f"{NAMES[1]}_end.png"), given)

    (tmp_path / "pairs" / f"{NAMES[2]}_end.png").unlink()
    with pytest.raises(InputError, match="1 pictures are missing: SC02_SH010_end.png"):
        film(place, tmp_path / "out2", pairs=tmp_path / "pairs")
    assert not (tmp_path / "out2").exists()


def test_a_vision_model_writes_what_the_filler_reads(place: Path, made: Path, tmp_path: Path):
    """Through the command: every pair is seen, the prompts stand in the story, and the clip of another prompt is another."""
    said = [json.dumps({"prompt": text}) for text in ("Mia walks left.", "Tom walks right.", "Mia walks left.")]
    with serving(*said) as (url, got):
        flags = ["--pairs", str(made / "frames"), "--model", str(place / "model"), "--refine", url, "--llm", "eye"]
        assert cli.main(["film", str(place / "story.json"), "--out", str(tmp_path / "out"), *flags]) == 0
    assert [request["model"] for request in got] == ["eye"] * 3
    pictures = [part["image_url"]["url"] for request in got for part in request["messages"][0]["content"][:2]]
    assert len(set(pictures)) == 6
    refined = [shot.video_prompt for _, shot in read_story(tmp_path / "out" / "story.json").shots()]
    assert refined == ["Mia walks left.", "Tom walks right.", "Mia walks left."]
    before, after = (json.loads((folder / "manifest.json").read_text())["shots"] for folder in (made, tmp_path / "out"))
    assert [shot["pair"]["start"] for shot in after] == [shot["pair"]["start"] for shot in before]
    assert all(a["clip"]["pixels"] != b["clip"]["pixels"] for a, b in zip(after, before, strict=True))


def changed(story: Story, **shot: object) -> Story:
    """The story with fields of its last shot replaced."""
    last = story.scenes[-1]
    scene = replace(last, shots=(*last.shots[:-1], replace(last.shots[-1], **shot)))
    return replace(story, scenes=(*story.scenes[:-1], scene))


FIELDS = [
    (replace(make_story(), fps=24.0, aspect="16:9"), ["aspect", "fps"]),
    (replace(make_story(), characters=(Character("mia", "Mia", references=("a.png",)),)), []),
    (changed(make_story(), seconds=3.0, locked=True), ["seconds"]),
    (changed(make_story(), start=Frame("left"), end=Frame(image="b.png")), ["start.prompt"]),
    (changed(make_story(), size="wide", cut=False, seed=3, notes="x", video_prompt="left"), []),
]


@pytest.mark.parametrize(("story", "unused"), FIELDS)
def test_fields_that_no_model_goes_by(story: Story, unused: list[str]):
    assert unused_fields(story) == unused
    lines = list(warnings(WordTokenizer(VOCABULARY, 40), story))
    assert lines == [f"the models of this version do not go by {', '.join(unused)}"] * bool(unused)


def test_warnings_of_what_the_filler_reads():
    """The video prompt in place of the description, where there is one."""
    tokenizer = WordTokenizer(VOCABULARY, 10)
    long = changed(make_story(last="Tom dances."), video_prompt="Tom walks " * 5)
    assert list(warnings(tokenizer, long)) == [
        "cut captions longer than the 9 words and marks that the model reads: SC02_SH010 (10)"
    ]
    (line,) = warnings(tokenizer, make_story(last="Tom dances " + "left " * 8))
    assert line == "left out words that the tiny model does not know: dances"


def test_a_story_without_an_edit_list_is_told_so():
    story, tokenizer = make_story(), WordTokenizer(VOCABULARY, 40)
    shots = tuple(replace(story.scenes[0].shots[0], id=f"SH{number:04}") for number in range(1000))
    many = replace(story, scenes=(replace(story.scenes[0], shots=shots),))
    assert list(warnings(tokenizer, many)) == ["no film.edl: 1,000 shots, an edit list has room for 999"]
    slow, _ = warnings(tokenizer, replace(story, fps=7.0))
    assert slow == "no film.edl: editing programs have no rate for a film of 7 frames a second"


def test_settings_name_the_sampling_that_was_used(place: Path):
    """The models' own, and what overrides it; the manifest has them."""
    models = load_models(place / "model")
    own, clips = PairSampler(models.step2, models.captions).settings, ClipSampler(models).settings
    assert own["steps"] == clips["steps"] == SAMPLING["steps"] and own["guidance"] == 2.5 and "landing" not in clips
    given, landed = PairSampler(models.step2, models.captions, 7, 0.0).settings, ClipSampler(models, 7, 3).settings
    assert given == own | {"steps": 7, "guidance": 0.0} and landed == clips | {"steps": 7, "landing": 3}


def test_refined_prompts_are_in_the_story(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, board: Board):
    monkeypatch.setattr(make, "draw_board", lambda *_, **__: board)
    monkeypatch.setattr(make, "fill_board", lambda board, *_, **__: board)
    said = Said()
    make_film(place / "story.json", tmp_path / "out", said, model=place / "model", refine=lambda shot: f"{shot.name} moves.")
    assert [step for step in said.steps if step[0] == "prompts"] == [("prompts", i, 3) for i in (1, 2, 3)]
    prompts = [shot.video_prompt for _, shot in read_story(tmp_path / "out" / "story.json").shots()]
    assert prompts == [f"{name} moves." for name in NAMES]
    assert "SC01_SH020 moves." in (tmp_path / "out" / "board.html").read_text()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize("step", ["start", "frames", "film", "end"])
def test_a_full_or_read_only_disk_leaves_nothing(
    step: str, code: int, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, board: Board
):
    """At any point of the way: what stood in the folder stands there as before, and no more than that."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")

    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    target = {
        "start": (files.tempfile, "mkdtemp"),
        "frames": (make, "write_png"),
        "film": (make, "frames_of"),
        "end": (files.os, "fsync"),
    }[step]
    for drawing in ("draw_board", "fill_board"):
        monkeypatch.setattr(make, drawing, lambda *_, **__: board)
    monkeypatch.setattr(*target, fail)
    with pytest.raises(OSError, match=os.strerror(code)) as caught:
        film(place, out)
    assert caught.value.errno == code and str(caught.value.filename).startswith(str(out))
    monkeypatch.undo()
    assert names(tmp_path) == {"out/mine.txt"} and {p.name for p in tmp_path.iterdir()} == {"out"}

