"""A board of six coloured pairs in two scenes, as the board loop would hand it over."""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import numpy as np

from stage_jax.story.board import Board, BoardShot, Clip, MemoryEntry, Pair
from stage_jax.story.types import Character, Frame, Location, Scene, Shot, Story

SIDE, FRAMES = 64, 17


def picture(hue: float, x: float) -> np.ndarray:
    """A ball of `hue` at `x` in 0..1 over ground and sky: uint8 [64, 64, 3]."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] / (SIDE - 1)
    image = np.empty((SIDE, SIDE, 3))
    image[:] = (205, 222, 235)
    image[rows > 0.68] = (126, 150, 104)
    ball = (columns - (0.2 + 0.6 * x)) ** 2 + (rows - 0.58) ** 2 < 0.17**2
    image[ball] = np.array(colorsys.hsv_to_rgb(hue, 0.65, 0.85)) * 255
    return image.round().astype(np.uint8)


def make_board(words: Callable[[str], str] = lambda plain: plain, clips: bool = True) -> Board:
    """The board; `words` may change every text that a user writes (to put markup into it)."""
    names = [("SC01", f"SH0{n}0") for n in (1, 2, 3)] + [("SC02", f"SH0{n}0") for n in (1, 2, 3)]
    board_shots: list[BoardShot] = []
    for index, (scene_id, shot_id) in enumerate(names):
        hue = (index % 3) / 3
        shot = Shot(
            id=shot_id,
            description=words("Mia walks along the shore until she meets Tom."),
            size=words("wide shot" if index % 2 else "close-up"),
            movement=words("pan right"),
            cut=index != 4,
            locked=index == 3,
            characters=("mia", "tom") if index % 2 else ("mia",),
            start=Frame(prompt=words("Mia on the left")),
            end=Frame(prompt=words("Mia on the right")),
            transition=words("FADE OUT") if index == 5 else "",
            dialogue=words("Have you seen the ferry?") if index in (1, 4) else "",
            notes=words("Keep the horizon low.") if index == 2 else "",
        )
        memory = tuple(
            MemoryEntry(
                shot=earlier.name,
                which="start" if rank % 2 else "end",
                rank=rank,
                area=0.5**rank,
                tokens=64 >> rank,
                score=2.0 - 0.25 * rank,
                why=words("previous end frame" if rank == 0 else "shares Mia and the beach"),
            )
            for rank, earlier in enumerate(reversed(board_shots[-4:]))
        )
        clip = Clip.of(np.stack([picture(hue, t / (FRAMES - 1)) for t in range(FRAMES)])) if clips else None
        board_shots.append(
            BoardShot(
                name=f"{scene_id}_{shot_id}",
                scene=Scene(id=scene_id, heading=words("EXT. BEACH - DAY"), location="beach"),
                shot=shot,
                caption=words(
                    f"Wide shot. Mia, a ball number {index + 1} in a soft light, crosses the beach to the right."
                ),
                seed=1000 + index,
                pair=Pair(start=picture(hue, 0), end=picture(hue, 1)),
                memory=memory,
                source="given" if index == 3 else "step2",
                clip=clip,
            )
        )
    scenes = tuple(
        Scene(
            id=name,
            heading=words("EXT. BEACH - DAY"),
            location="beach",
            shots=tuple(s.shot for s in board_shots if s.scene.id == name),
        )
        for name in ("SC01", "SC02")
    )
    story = Story(
        title=words("The Last Ferry"),
        overview=words("Mia waits for a ferry that left an hour ago, and finds out that she does not mind."),
        characters=(
            Character(
                id="mia", name=words("Mia"), description=words("a red ball with a tall hat"), tag=words("non_human")
            ),
            Character(id="tom", name=words("Tom"), description=words("a blue ball")),
        ),
        locations=(Location(id="beach", name=words("Beach"), description=words("sand and a low horizon")),),
        scenes=scenes,
    )
    return Board(story=story, shots=tuple(board_shots), fps=8.0)
