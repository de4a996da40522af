"""What flags say about the shots of a board: which stay, which alone are drawn anew, how many pairs, and which of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from stage_jax.errors import InputError
from stage_jax.film.earlier import earlier_memories, earlier_pairs
from stage_jax.film.references import read_references
from stage_jax.generate.edits import Edits
from stage_jax.generate.shelf import NAME, Shelf
from stage_jax.story.board import Pair
from stage_jax.story.pairs import read_frames, read_picture
from stage_jax.story.pictures import fit_picture
from stage_jax.story.schema import near
from stage_jax.story.types import Story


@dataclass(frozen=True)
class Choices:
    """lock: shots whose pairs stay. only: shots that alone are drawn, with those whose memory differs then. candidates: pairs
    to draw of each shot. take: by shot, the number of the pair that it gets. pairs: a folder of given frames."""

    lock: Sequence[str] = ()
    only: Sequence[str] = ()
    candidates: int = 1
    take: Mapping[str, int] = field(default_factory=dict)
    pairs: Path | None = None

    def named(self) -> list[tuple[str, str]]:
        """All shots that are named, each with the flag."""
        flags = (("--lock", self.lock), ("--only", self.only), ("--take", self.take))
        return [(flag, name) for flag, names in flags for name in names]


def check_names(choices: Choices, story: Story) -> None:
    """InputError for a shot that is named and is not in the story."""
    names = [story.shot_name(scene, shot) for scene, shot in story.shots()]
    for flag, name in choices.named():
        if name not in names:
            raise InputError(f"{flag}: found {name!r}, expected a shot of the story: {near(name, names)}")


def with_locks(story: Story, names: Sequence[str]) -> Story:
    """The story with these shots locked."""
    scenes = []
    for scene in story.scenes:
        shots = (replace(s, locked=s.locked or story.shot_name(scene, s) in names) for s in scene.shots)
        scenes.append(replace(scene, shots=tuple(shots)))
    return replace(story, scenes=tuple(scenes))


def locked_pairs(story: Story, choices: Choices, out: Path, size: tuple[int, int]) -> dict[str, Pair]:
    """The pairs of locked shots as they stand in `out`; a shot that the story locks is drawn where it has none yet. InputError
    where one that a flag locks has none."""
    kept = earlier_pairs(out, [story.shot_name(scene, shot) for scene, shot in story.shots() if shot.locked], size)
    for name in choices.lock:
        if name not in kept:
            raise InputError(f"--lock {name}: found no frames of it in {out / 'frames'}, expected those of an earlier run")
    return kept


def edits_of(choices: Choices, story: Story, folder: Path, out: Path, size: tuple[int, int]) -> Edits:
    """The edits of a board that is drawn into `out`. story: with its locks; folder: its own, where its pictures are.
    size: height and width that the model draws. InputError for what cannot be had."""
    earlier = {}
    if choices.only:
        memories = earlier_memories(out)
        names = [story.shot_name(scene, shot) for scene, shot in story.shots()]
        pairs = earlier_pairs(out, [name for name in names if name in memories and name not in choices.only], size)
        earlier = {name: (memories[name], pair) for name, pair in pairs.items()}
    return Edits(
        shelf=Shelf(out / NAME),
        given=_given(choices, story, folder, size),
        kept=locked_pairs(story, choices, out, size),
        earlier=earlier,
        afresh=frozenset(choices.only),
        candidates=choices.candidates,
        takes=choices.take,
        references=read_references(story, folder, size),
    )


def _given(
    choices: Choices, story: Story, folder: Path, size: tuple[int, int]
) -> dict[tuple[str, str], UInt8[np.ndarray, "h w 3"]]:
    """Frames that the story names, and over them those of the folder of pairs."""
    named = {
        (story.shot_name(scene, shot), which): frame.image
        for scene, shot in story.shots()
        for which, frame in (("start", shot.start), ("end", shot.end))
        if frame.image
    }
    found = {key: read_picture(folder / image) for key, image in named.items()}
    found |= read_frames(choices.pairs, story) if choices.pairs else {}
    return {key: fit_picture(picture, size) for key, picture in found.items()}
