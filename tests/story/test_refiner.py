"""The refiner: another pair gives another prompt, and the prompt says what the pair shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stage_jax.story.board import Board, BoardShot, Pair
from stage_jax.story.motion import measure
from stage_jax.story.pictures import fit_picture
from stage_jax.story.refiner import camera_words, refine_board, refine_by_rules, subject_words
from stage_jax.story.types import Scene, Shot, Story

SIDE = 96


def world(seed: int = 0) -> np.ndarray:
    """A textured place, larger than a frame: soft blobs of every grey."""
    noise = np.random.default_rng(seed).integers(0, 256, (24, 24, 3), np.uint8)
    return fit_picture(noise, 3 * SIDE)


def frame(x: int = 0, y: int = 0, zoom: float = 1.0, ball: tuple[int, int] | None = None, light: int = 0) -> np.ndarray:
    """What a camera sees of the world that looks `x`, `y` pixels off its middle, with a ball at a place of the frame."""
    side = round(SIDE / zoom)
    top, left = (3 * SIDE - side) // 2 + y, (3 * SIDE - side) // 2 + x
    seen = fit_picture(np.ascontiguousarray(world()[top : top + side, left : left + side]), SIDE).astype(int)
    if ball is not None:
        rows, columns = np.mgrid[-14:14, -14:14]
        inside = rows**2 + columns**2 < 14**2
        seen[ball[1] - 14 : ball[1] + 14, ball[0] - 14 : ball[0] + 14][inside] = world(1)[:28, :28][inside]
    return (seen + light).clip(0, 255).astype(np.uint8)


def shot(start: np.ndarray, end: np.ndarray, **fields: object) -> BoardShot:
    plain = Shot("SH010", "A ball.", **fields)
    return BoardShot("SC01_SH010", Scene("SC01"), plain, "A ball.", 0, Pair(start, end), (), "given")


CAMERA = [
    (dict(), "The camera holds still."),
    (dict(x=18), "The camera pans right."),
    (dict(x=-18), "The camera pans left."),
    (dict(y=-15), "The camera tilts up."),
    (dict(y=15), "The camera tilts down."),
    (dict(zoom=1.2), "The camera moves in."),
    (dict(zoom=0.82), "The camera moves out."),
    (dict(x=18, zoom=1.1), "The camera pans right and moves in."),
]


@pytest.mark.parametrize(("end", "words"), CAMERA, ids=[words for _, words in CAMERA])
def test_the_cameras_motion(end: dict, words: str) -> None:
    motion = measure(frame(), frame(**end))
    assert camera_words(motion) == words and subject_words(motion) == "Nothing else moves far."


def test_the_subjects_motion_is_told_from_the_cameras() -> None:
    right = measure(frame(ball=(25, 48)), frame(ball=(60, 48)))
    assert camera_words(right) == "The camera holds still."
    assert subject_words(right) == "The subject moves right, far across the frame."
    assert right.subject[0] == pytest.approx(35 / SIDE, abs=0.04) and abs(right.subject[1]) < 0.04
    # the camera goes along: the ball stays where it is in the frame and so moves through the world
    along = measure(frame(ball=(48, 48)), frame(x=20, ball=(48, 48)))
    assert camera_words(along) == "The camera pans right." and "moves right" in subject_words(along)
    assert subject_words(measure(frame(), 255 - world(5)[:SIDE, :SIDE])) == "Everything in the picture changes."
    flat = np.full((48, 80, 3), 90, np.uint8)
    assert camera_words(measure(flat, flat)) == "The camera holds still."


def test_another_pair_gives_another_prompt() -> None:
    left, right = frame(ball=(25, 48)), frame(ball=(60, 48))
    assert refine_by_rules(shot(left, right)) == (
        "A ball. The camera holds still. The subject moves right, far across the frame."
    )
    assert refine_by_rules(shot(right, left)).endswith("The subject moves left, far across the frame.")
    assert refine_by_rules(shot(left, frame(ball=(25, 48), light=60))).endswith("It grows brighter.")
    assert "The camera moves: pan left." in refine_by_rules(shot(left, right, movement="pan left"))


def test_a_board_gets_the_prompts_that_it_lacks() -> None:
    own, plain = Shot("SH010", "A.", video_prompt="mine"), Shot("SH020", "B.")
    scene = Scene("SC01", shots=(own, plain))
    black = np.zeros((32, 32, 3), np.uint8)
    shots = tuple(
        replace(shot(black, black), name=f"SC01_{each.id}", shot=each, caption=each.description) for each in (own, plain)
    )
    seen: list[str] = []

    def refine(each: BoardShot) -> str:
        seen.append(each.name)
        return f"{each.caption} Refined."

    board = refine_board(Board(Story("t", scenes=(scene,)), shots, 8.0), refine)
    assert seen == ["SC01_SH020"]
    assert [each.shot.video_prompt for each in board.shots] == ["mine", "B. Refined."]
    assert [each.video_prompt for _, each in board.story.shots()] == ["mine", "B. Refined."]
