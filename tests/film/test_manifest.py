from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stage_jax.film.manifest import manifest
from stage_jax.story.board import Board, MemoryEntry, Reference
from stage_jax.story.hashes import canonical_json, content_hash, pixel_hash
from stage_jax.story.types import Frame
from tests.film.boards import make_board

MODELS = {"vae": "aa", "step2": "bb", "filler": "cc"}
SETTINGS: dict[str, Any] = {"steps": 20, "guidance": 2.0, "seed": 0}


def made(board: Board, models: dict[str, str] = MODELS, settings: dict[str, Any] = SETTINGS) -> dict[str, Any]:
    return manifest(board, model_hashes=models, settings=settings, files={"film.mp4": "dd"})


def changed(before: dict[str, Any], after: dict[str, Any]) -> list[int]:
    pairs = zip(before["shots"], after["shots"], strict=True)
    return [index for index, (old, new) in enumerate(pairs) if old["hash"] != new["hash"]]


def with_shot(board: Board, index: int, **changes: Any) -> Board:
    shots = list(board.shots)
    shots[index] = replace(shots[index], **changes)
    return replace(board, shots=tuple(shots))


def test_the_same_board_gives_the_same_text_with_sorted_keys(board: Board) -> None:
    first, second = (json.dumps(made(each)) for each in (board, make_board()))
    assert first == second == json.dumps(made(board), sort_keys=True)
    assert "/" not in first.replace("film.mp4", "")


def test_every_hash_can_be_recomputed_from_the_manifest_itself(board: Board) -> None:
    result = json.loads(json.dumps(made(board)))
    assert [shot["name"] for shot in result["shots"]] == [shot.name for shot in board.shots]
    for shot in result["shots"]:
        assert shot["hash"] == content_hash(shot["inputs"])
    assert result["shots"][0]["inputs"]["weights"] == content_hash(result["models"])
    assert result["story"]["frames"] == 6 * 17


def test_a_shots_hash_follows_what_its_pictures_depend_on(board: Board) -> None:
    before = made(board)
    shot = board.shots[1]
    assert changed(before, made(with_shot(board, 1, caption="other"))) == [1]
    assert changed(before, made(with_shot(board, 1, seed=7))) == [1]
    assert changed(before, made(with_shot(board, 1, memory=()))) == [1]
    for changes in ({"locked": True}, {"seconds": 3.0}, {"video_prompt": "x"}, {"start": Frame(prompt="x")}):
        assert changed(before, made(with_shot(board, 1, shot=replace(shot.shot, **changes)))) == [1], changes
    assert changed(before, made(board, models={**MODELS, "step2": "other"})) == list(range(6))
    assert changed(before, made(board, settings={**SETTINGS, "steps": 10})) == list(range(6))


def test_another_picture_changes_the_shots_that_remember_it_and_given_pairs(board: Board) -> None:
    before = made(board)
    black = np.zeros_like(board.shots[0].pair.end)
    shot = board.shots[0]
    # SC01_SH010's end is seen by the shots in whose memory it stands; it was drawn, so its own inputs are as before
    seen = [i for i, s in enumerate(board.shots) if any((e.shot, e.which) == (shot.name, "end") for e in s.memory)]
    assert seen and changed(before, made(with_shot(board, 0, pair=replace(shot.pair, end=black)))) == seen
    given = board.shots[3]
    assert given.source == "given"
    assert 3 in changed(before, made(with_shot(board, 3, pair=replace(given.pair, start=black))))


def test_a_reference_is_told_by_whom_it_shows_and_changes_the_shots_that_remember_it(board: Board) -> None:
    grey, black = np.full((64, 64, 3), 99, np.uint8), np.zeros((64, 64, 3), np.uint8)
    entry = MemoryEntry("", "reference", 1, 0.5, 32, 1.0, "first reference of mia", "mia", 2)
    seen = replace(with_shot(board, 2, memory=(entry,)), references=(Reference("mia", 2, grey),))
    before = made(seen)
    told = {"reference": "mia", "number": 2, "rank": 1, "area": 0.5, "pixels": pixel_hash(grey)}
    assert before["shots"][2]["inputs"]["pack"] == [told]
    assert changed(before, made(replace(seen, references=(Reference("mia", 2, black),)))) == [2]
    assert changed(before, made(replace(seen, references=(*seen.references, Reference("tom", 1, black))))) == []


def test_a_shots_hash_does_not_follow_notes_or_folders(board: Board) -> None:
    before = made(board)
    shot = board.shots[1].shot
    moved = replace(shot, notes="other", start=replace(shot.start, image="/home/someone/a.png"))
    after = made(with_shot(board, 1, shot=moved))
    assert changed(before, after) == [] and "someone" not in json.dumps(after)


def test_a_board_without_clips_yet() -> None:
    result = made(make_board(clips=False))
    assert all(shot["clip"] is None for shot in result["shots"])
    assert result["story"]["frames"] == 6 * 16


def test_canonical_json() -> None:
    assert canonical_json({"b": np.float32(0.5), "a": (np.int64(1), "é")}) == '{"a":[1,"\\u00e9"],"b":0.5}'
    # sha256 of the two bytes "{}", as any other tool computes it
    assert content_hash({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    with pytest.raises(ValueError, match="not JSON compliant"):
        content_hash({"loss": float("nan")})
    with pytest.raises(TypeError, match="object"):
        content_hash({"x": object()})


def test_pixel_hash_sees_shape_and_values_and_not_the_layout() -> None:
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert pixel_hash(image) == pixel_hash(np.asfortranarray(image))
    assert pixel_hash(image) != pixel_hash(image.reshape(4, 2, 3))
    assert pixel_hash(image) != pixel_hash(image + 1)
