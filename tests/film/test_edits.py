"""A board that is edited: what is drawn again, what stays, and what is found after a run that was killed."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stage_jax.cli.main import main
from stage_jax.errors import InputError
from stage_jax.film import make
from stage_jax.film import make_boards as making
from stage_jax.film.choices import Choices
from stage_jax.film.make import make_film
from stage_jax.film.make_boards import make_boards
from stage_jax.film.png import write_png
from stage_jax.generate.clips import ClipSampler
from stage_jax.generate.pairs import PairSampler
from stage_jax.models.dit import DiTConfig
from stage_jax.story.pairs import read_picture
from stage_jax.story.types import Character, Frame, Scene, Shot, Story, story_to_json
from stage_jax.weights.folder import read_part, write_part
from tests.film.test_make import Said, names, pngs
from tests.generate.models import SAMPLING, make_story, write_models
from tests.training import sizes

SIDE = sizes.SIDE
WHO = ["mia", "mia", "tom", "tom", "mia", "mia", "tom", "mia"]
SHOTS = [f"SC01_SH0{n}0" for n in range(1, 9)]


def eight(**changes: Shot) -> Story:
    """Eight shots; `changes` replace them by their ids."""
    plain = [Shot(f"SH0{n}0", f"{who} walks {'left ' * n}.", characters=(who,)) for n, who in enumerate(WHO, 1)]
    return replace(make_story(), scenes=(Scene("SC01", shots=tuple(changes.get(shot.id, shot) for shot in plain)),))


FOURTH = Shot("SH040", "tom walks right left left left .", characters=("tom",))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models whose memory is two frames, of which none has to be the previous one."""
    folder = tmp_path_factory.mktemp("edits")
    write_models(folder / "model")
    config, params = read_part(folder / "model", "step2", DiTConfig)
    how = SAMPLING | {"size": list(SAMPLING["size"]), "recipe": {"previous": False, "anchors": False, "slots": 2}}
    write_part(folder / "model", "step2", config, params, sampling=how)
    return folder


@pytest.fixture(scope="module", autouse=True)
def _compiled_once() -> Iterator[None]:
    """Models and samplers, and so their programs, are the same for all runs of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (make, making):
            for name in ("load_models", "PairSampler"):
                patch.setattr(module, name, functools.cache(getattr(module, name)))
        patch.setattr(make, "clip_sampler", functools.cache(make.clip_sampler))
        yield


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The captions of all that is drawn."""
    captions, call = [], PairSampler.__call__

    def noted(self: PairSampler, texts: list[str], *rest: object) -> object:
        captions.extend(texts)
        return call(self, texts, *rest)

    monkeypatch.setattr(PairSampler, "__call__", noted)
    return captions


def board(place: Path, out: Path, story: Story, **choices: object) -> dict:
    """The manifest of the story's board in `out`."""
    out.parent.mkdir(exist_ok=True)
    file = out.parent / "story.json"
    file.write_text(json.dumps(story_to_json(story)))
    make_boards([file], out, Said(), model=place / "model", choices=Choices(**choices))
    return json.loads((out / "manifest.json").read_text())


def shots(captions: list[str], story: Story) -> list[str]:
    by_text = {shot.description: story.shot_name(scene, shot) for scene, shot in story.shots()}
    return [by_text[caption] for caption in captions]


def frames_of(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in pngs(folder).items() if name.startswith("frames/")}


def hashes(out: Path) -> dict[str, str]:
    return {shot["name"]: shot["hash"] for shot in json.loads((out / "manifest.json").read_text())["shots"]}


def pairs(manifest: dict) -> dict[str, dict]:
    return {shot["name"]: shot["pair"] for shot in manifest["shots"]}


@pytest.fixture(scope="module")
def whole(place: Path, _compiled_once: None) -> tuple[Path, dict]:
    return place / "whole" / "out", board(place, place / "whole" / "out", eight())


def test_a_word_of_one_shot_draws_it_and_those_who_remember_it(place: Path, whole: tuple, tmp_path: Path, drawn: list[str]):
    out = tmp_path / "out"
    before = board(place, out, eight())
    assert shots(drawn, eight()) == SHOTS and before == whole[1]
    drawn.clear()
    assert board(place, out, eight()) == before and drawn == []
    story = eight(SH040=FOURTH)
    after = board(place, out, story)
    again = shots(drawn, story)
    assert again == [name for name in SHOTS if pairs(after)[name]["hash"] != pairs(before)[name]["hash"]]
    remembering = [name for name in SHOTS if pairs(after)[name]["memory"] != pairs(before)[name]["memory"]]
    assert again == [SHOTS[3], *remembering] and SHOTS[6] in again and not {*SHOTS[:3], SHOTS[4]} & set(again)
    fresh = tmp_path / "fresh" / "out"
    board(place, fresh, story)
    assert pngs(fresh) == pngs(out)  # as if it had been so from the start

    drawn.clear()  # another text of shots 4 and 5, and only 5 is asked for: what stands there of the others stays
    story = eight(SH050=replace(FOURTH, id="SH050", description="mia ."))
    board(place, out, story, only=[SHOTS[4]])
    assert SHOTS[4] in shots(drawn, story) and SHOTS[3] not in shots(drawn, story)
    assert (out / "frames" / f"{SHOTS[3]}_end.png").read_bytes() == (fresh / "frames" / f"{SHOTS[3]}_end.png").read_bytes()


def test_a_locked_shot_keeps_its_bytes(place: Path, tmp_path: Path, drawn: list[str]):
    """Also those that a person put there; and who remembers it sees the same as before."""
    out = tmp_path / "out"
    before, frames = board(place, out, eight()), frames_of(out)
    drawn.clear()
    after = board(place, out, eight(SH040=FOURTH), lock=[SHOTS[3]])
    assert drawn == [] and frames_of(out) == frames and pairs(after)[SHOTS[3]]["by"] == "kept"
    assert {n: p["hash"] for n, p in pairs(after).items() if n != SHOTS[3]} == {
        n: p["hash"] for n, p in pairs(before).items() if n != SHOTS[3]
    }
    assert json.loads((out / "story.json").read_text())["scenes"][0]["shots"][3]["locked"] is True
    mine = out / "frames" / f"{SHOTS[3]}_start.png"
    write_png(mine, np.full((SIDE, SIDE, 3), 9, np.uint8))
    mine.write_bytes(mine.read_bytes() + b"mine")
    kept = mine.read_bytes()
    board(place, out, eight(SH040=replace(FOURTH, locked=True)))
    assert mine.read_bytes() == kept and drawn and SHOTS[3] not in shots(drawn, eight())
    with pytest.raises(InputError, match="--lock: found 'SC01_SH09', expected a shot of the story: 'SC01_SH0"):
        board(place, out, eight(), lock=["SC01_SH09"])
    with pytest.raises(InputError, match="--lock SC01_SH010: found no frames of it in"):
        board(place, tmp_path / "none", eight(), lock=SHOTS[:1])
    write_png(mine, np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(InputError, match=rf"SH040_start.png: found a frame of 8x8, expected {SIDE}x{SIDE}"):
        board(place, out, eight(), lock=[SHOTS[3]])


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(
    place: Path, whole: tuple, tmp_path: Path, drawn: list[str], monkeypatch: pytest.MonkeyPatch
):
    out, call = tmp_path / "out", PairSampler.__call__

    def killed(self: PairSampler, *given: object) -> object:
        if len(drawn) == 5:
            raise KeyboardInterrupt
        return call(self, *given)

    monkeypatch.setattr(PairSampler, "__call__", killed)
    with pytest.raises(KeyboardInterrupt):
        board(place, out, eight())
    assert names(out) == set()  # nothing but the finished work
    (out / ".out.xyz.partial").mkdir()  # what is left of a process that had no time to clean up
    (out / ".work" / ".half.npz").write_bytes(b"PK")
    monkeypatch.setattr(PairSampler, "__call__", call)
    board(place, out, eight())
    assert shots(drawn, eight()) == SHOTS
    assert {n: (out / n).read_bytes() for n in names(out)} == {n: (whole[0] / n).read_bytes() for n in names(whole[0])}
    assert not (out / ".out.xyz.partial").exists() and not (out / ".work" / ".half.npz").exists()
    for file in (out / ".work").iterdir():
        file.write_bytes(b"PK")
    with pytest.raises(InputError, match=r"\.npz: damaged, expected finished work of an earlier run"):
        board(place, out, eight())


def test_a_shorter_story_leaves_no_files_of_the_longer_one(place: Path, tmp_path: Path):
    out = tmp_path / "out"
    board(place, out, eight())
    (out / "frames" / "mine.png").write_bytes(b"mine")
    (out / "frames" / f"{SHOTS[7]}_end.png").write_bytes(b"changed by somebody")
    story = eight()
    board(place, out, replace(story, scenes=(replace(story.scenes[0], shots=story.scenes[0].shots[:2]),)))
    left = {f"{name}_{which}.png" for name in SHOTS[:2] for which in ("start", "end")}
    assert {file.name for file in (out / "frames").iterdir()} == left | {"mine.png", f"{SHOTS[7]}_end.png"}


def test_an_edited_reference_draws_the_shots_that_see_it_and_those_who_remember_them(
    place: Path, tmp_path: Path, drawn: list[str]
):
    """Tom's shots are the third, fourth and seventh; the second of his references is seen by the first of them alone."""
    rng, folder, out = np.random.default_rng(0), tmp_path / "a", tmp_path / "a" / "out"
    folder.mkdir()

    def paint(folder: Path, *files: str) -> None:
        for name in files:
            write_png(folder / f"{name}.png", rng.integers(0, 256, (SIDE, SIDE // 2, 3), dtype=np.uint8))

    def cast(**changes: tuple[str, ...]) -> Story:
        references = {"mia": ("mia.png",), "tom": ("tom.png", "tom2.png"), "ada": ("ada.png",)} | changes
        who = [Character(name, name.title(), references=files) for name, files in references.items()]
        return replace(eight(), characters=tuple(who))

    def again(story: Story) -> list[str]:
        drawn.clear()
        board(place, out, story)
        return shots(drawn, story)

    paint(folder, "mia", "tom", "tom2", "tom3", "ada")
    assert again(cast()) == SHOTS and again(cast()) == []
    toms = [SHOTS[2], SHOTS[3], SHOTS[6]]
    paint(folder, "tom")
    before = hashes(out)
    assert again(cast()) == toms
    assert [name for name, content in hashes(out).items() if content != before[name]] == toms
    paint(folder, "tom2")
    assert again(cast()) == toms
    paint(folder, "ada")  # no shot names her
    kept = (folder / "mia.png").read_bytes()
    Image.open(folder / "mia.png").save(folder / "mia.png", compress_level=0)  # another file, the same picture
    assert (folder / "mia.png").read_bytes() != kept
    assert again(cast()) == again(cast(tom=("tom.png", "tom2.png", "tom3.png"))) == again(cast(ada=())) == []
    frames = frames_of(out)
    assert again(cast(tom=())) == toms and frames_of(out) != frames
    assert again(cast()) == toms and frames_of(out) == frames
    paint(folder, "mia")
    before = hashes(out)
    made = again(cast())
    assert made == [name for name, content in hashes(out).items() if content != before[name]] and SHOTS[0] in made

    shutil.copytree(folder, tmp_path / "b", ignore=shutil.ignore_patterns("out"))
    board(place, tmp_path / "b" / "out", cast())
    assert pngs(tmp_path / "b" / "out") == pngs(out)  # as if they had been so from the start

    paint(folder, "tom")
    only = board(place, out, cast(), only=[SHOTS[0]])  # of the others those whose memory differs
    assert [name for name in SHOTS if pairs(only)[name]["by"] == "step2"] == [SHOTS[0], *toms]


def test_given_frames(place: Path, tmp_path: Path, drawn: list[str]):
    """Of the story and of a folder: what is given stands in the board, what is not is drawn to it."""
    grey, other = np.full((SIDE, SIDE, 3), 90, np.uint8), np.full((SIDE, SIDE, 3), 200, np.uint8)
    (tmp_path / "pairs").mkdir()
    write_png(tmp_path / "grey.png", grey)
    for which in ("start", "end"):
        write_png(tmp_path / "pairs" / f"{SHOTS[1]}_{which}.png", other)
    story = eight()
    opening = replace(story.scenes[0].shots[0], start=Frame(image="grey.png"))
    story = replace(story, scenes=(replace(story.scenes[0], shots=(opening, *story.scenes[0].shots[1:2])),))
    free = board(place, tmp_path / "free", replace(story, scenes=eight().scenes))
    drawn.clear()
    made = board(place, tmp_path / "out", story, pairs=tmp_path / "pairs")
    assert shots(drawn, story) == SHOTS[:1]
    first, second = (pairs(made)[name] for name in SHOTS[:2])
    assert (first["by"], first["given"], second["by"]) == ("step2", ["start"], "given")
    frames = {file.stem: read_picture(file) for file in (tmp_path / "out" / "frames").iterdir()}
    np.testing.assert_array_equal(frames[f"{SHOTS[0]}_start"], grey)
    np.testing.assert_array_equal(frames[f"{SHOTS[1]}_end"], other)
    assert first["end"] != pairs(free)[SHOTS[0]]["end"]  # drawn to the given start
    assert "start given" in (tmp_path / "out" / "board.html").read_text()


def test_a_shot_without_a_cut_starts_where_the_one_before_ended(place: Path, tmp_path: Path, drawn: list[str]):
    def three(first: str, **second: object) -> Story:
        scene = eight(SH010=Shot("SH010", first), SH020=replace(eight().scenes[0].shots[1], **second)).scenes[0]
        return replace(eight(), scenes=(replace(scene, shots=scene.shots[:3]),))

    def at(out: Path, shot: int, which: str) -> bytes:
        return (out / "frames" / f"{SHOTS[shot]}_{which}.png").read_bytes()

    out = tmp_path / "out"
    cut = board(place, out, three("mia walks left ."))
    assert at(out, 1, "start") != at(out, 0, "end")
    made = board(place, out, three("mia walks left .", cut=False))
    assert at(out, 1, "start") == at(out, 0, "end") and at(out, 2, "start") != at(out, 1, "end")
    assert pairs(made)[SHOTS[1]]["end"] != pairs(cut)[SHOTS[1]]["end"]  # drawn to that start
    assert "start given · no cut before" in (out / "board.html").read_text()

    drawn.clear()  # what the first shot ends on is now another frame, which the second has to follow
    again = board(place, out, three("mia walks right .", cut=False))
    assert pairs(again)[SHOTS[0]]["end"] != pairs(made)[SHOTS[0]]["end"] and at(out, 1, "start") == at(out, 0, "end")

    write_png(tmp_path / "grey.png", np.full((SIDE, SIDE, 3), 90, np.uint8))  # a person's own start goes before
    board(place, out, three("mia walks right .", cut=False, start=Frame(image="grey.png")))
    np.testing.assert_array_equal(read_picture(out / "frames" / f"{SHOTS[1]}_start.png"), 90)
    board(place, out, three("mia walks right .", cut=False, end=Frame(image="grey.png")))
    assert at(out, 1, "start") == at(out, 0, "end")


def test_candidates(place: Path, tmp_path: Path, drawn: list[str]):
    out = tmp_path / "out"
    story = eight()
    story = replace(story, scenes=(replace(story.scenes[0], shots=story.scenes[0].shots[:2]),))
    plain = board(place, tmp_path / "plain", story)
    drawn.clear()
    made = board(place, out, story, candidates=2, take={SHOTS[1]: 2})
    assert shots(drawn, story) == [SHOTS[0]] * 2 + [SHOTS[1]] * 2
    assert pairs(made)[SHOTS[0]] == pairs(plain)[SHOTS[0]] and pairs(made)[SHOTS[1]] != pairs(plain)[SHOTS[1]]
    second = made["shots"][1]
    assert second["take"] == 2 and [c["number"] for c in second["candidates"]] == [1, 2]
    beside = {file.name: file.read_bytes() for file in (out / "candidates").iterdir()}
    frame = (out / "frames" / f"{SHOTS[1]}_end.png").read_bytes()
    assert len(beside) == 8 and beside[f"{SHOTS[1]}_2_end.png"] == frame != beside[f"{SHOTS[1]}_1_end.png"]
    assert '<b>2</b> <span class="taken">' in (out / "board.html").read_text()
    drawn.clear()
    board(place, out, story, take={SHOTS[1]: 2})
    assert drawn == [] and (out / "frames" / f"{SHOTS[1]}_end.png").read_bytes() == frame
    assert not (out / "candidates").exists()


@pytest.mark.slow
def test_clips_are_made_again_where_their_own_hash_changed(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    filled, call = [], ClipSampler.__call__

    def noted(self: ClipSampler, pairs: list, captions: list[str], seeds: list[int]) -> object:
        filled.extend(captions)
        return call(self, pairs, captions, seeds)

    monkeypatch.setattr(ClipSampler, "__call__", noted)
    file, texts = tmp_path / "story.json", []

    def film(change: Callable[[Shot], Shot]) -> None:
        filled.clear()
        story = make_story()
        scene = story.scenes[1]
        story = replace(story, scenes=(story.scenes[0], replace(scene, shots=(change(scene.shots[0]),))))
        file.write_text(json.dumps(story_to_json(story)))
        make_film(file, tmp_path / "out", Said(), model=place / "model")
        texts.append(list(filled))

    film(lambda shot: shot)
    film(lambda shot: replace(shot, notes="x", seconds=3.0))
    film(lambda shot: replace(shot, video_prompt="Tom walks right."))
    assert [len(made) for made in texts] == [3, 0, 1] and texts[2] == ["Tom walks right."]


def test_stories_are_shared_among_processes_and_one_failure_stops_none(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    for name, last in (("a", "."), ("b", "Tom dances."), ("c", "left")):
        story = replace(make_story(), scenes=(Scene("SC01", shots=(Shot("SH010", last),)),))
        (tmp_path / f"{name}.json").write_text(json.dumps(story_to_json(story)))
    given = [str(tmp_path / f"{name}.json") for name in "abc"]
    flags = ["--out", str(tmp_path / "out"), "--model", str(place / "model")]
    assert main(["board", *given, *flags, "--share", "1/2"]) == 2
    told = capsys.readouterr().err
    assert "failed: " in told and "dances" in told and "stage: 1 of 1 stories failed" in told
    assert not (tmp_path / "out").exists()
    assert main(["board", *given, *flags]) == 2  # the second fails, the third is drawn
    assert "stage: 1 of 3 stories failed" in capsys.readouterr().err
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"a", "c"}
    shutil.rmtree(tmp_path / "out")
    assert main(["board", *given, *flags, "--share", "0/2"]) == 0
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"a", "c"}
    assert main(["board", *given, *flags, "--lock", "SC01_SH010"]) == 2
    assert "--lock: found with 3 stories, expected one" in capsys.readouterr().err
