"""Storyboards with reference roles for DreamShot: some shots of a story, and a picture of each role from somewhere else.

DreamShot (arXiv 2604.17195) takes a role's reference from another group of shots, so that the model cannot copy it into
place. Here it comes from another story that has the same role, else from a shot of the same story that is not on the board.
Two roles are the same if they are described in the same words (our choice: the script says it exactly).
"""

from __future__ import annotations

import functools
from collections import defaultdict

import grain
import numpy as np

from data_pipeline.loader import Examples
from data_pipeline.shots import Batch, ShotSource
from stage_jax.story.types import Story


class RoleSource:
    """Every story of a cache of pairs, and where else its roles are seen: alone in a shot."""

    def __init__(self, source: ShotSource):
        self.source = source
        self.seen: dict[str, list[int]] = defaultdict(list)  # rows of shots that show a role alone, by its words
        self.story_of = [story for story, _ in source.where]
        for row, (story, shot) in enumerate(source.where):
            shown = source.shots[story][shot][1].characters
            if len(shown) == 1 and (words := role_words(source.cache.stories[story]).get(shown[0])):
                self.seen[words].append(row)

    def __len__(self) -> int:
        return len(self.source.shots)

    def __getitem__(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return index

    def reference(self, story: int, words: str, board: range, rng: np.random.Generator) -> np.ndarray | None:
        """Start or end frame [C, h, w] of a shot that shows the role alone: of another story, else of this one and not in
        `board` (rows); None if there is none."""
        rows = self.seen.get(words, [])
        places = [row for row in rows if self.story_of[row] != story] or [row for row in rows if row not in board]
        return self.source.cache.latents[places[rng.integers(len(places))], rng.integers(2)] if places else None


def role_words(story: Story) -> dict[str, str]:
    """What a character is told apart by, by its id; empty if the story does not describe it."""
    return {character.id: character.description.strip().lower() for character in story.characters}


def role_examples(
    roles: RoleSource, shots: int, references: int, dropout: dict[str, float], seed: int
) -> grain.MapDataset:
    """A board of up to `shots` shots in a row and up to `references` roles on it, in the order in which they appear.

    frames [shots, C, h, w] (start frames), frames_valid [shots], ids and mask [shots, L]; references [references, C, h, w],
    references_valid; shows [shots, references], which role is on which frame. What is absent is zero, at the end. dropout:
    `caption` puts the empty caption in all places, `references` leaves all of them out (the branches of guidance)."""
    return Examples(roles, seed, functools.partial(_board, roles, shots, references, dropout))


def _board(
    roles: RoleSource, shots: int, references: int, dropout: dict[str, float], story: int, rng: np.random.Generator
) -> Batch:
    source = roles.source
    told, cache = source.shots[story], source.cache
    count = min(shots, len(told))
    first = int(rng.integers(len(told) - count + 1))
    board = range(cache.first_shot[story] + first, cache.first_shot[story] + first + count)
    blank, bare = rng.random() < dropout["caption"], rng.random() < dropout["references"]
    texts = [source.caption(story, first + i, blank) for i in range(count)]
    texts += [source.caption(story, first, True)] * (shots - count)

    frames = np.zeros((shots, *cache.latents.shape[2:]), np.float32)
    frames[:count] = cache.latents[board.start : board.stop, 0]
    pictures = np.zeros((references, *frames.shape[1:]), np.float32)
    shows = np.zeros((shots, references), bool)
    words, found = role_words(cache.stories[story]), 0
    for name in dict.fromkeys(who for _, shot in told[first : first + count] for who in shot.characters):
        picture = None if bare or found == references else roles.reference(story, words[name], board, rng)
        if picture is not None:
            pictures[found] = picture
            shows[:count, found] = [name in shot.characters for _, shot in told[first : first + count]]
            found += 1
    return {
        "frames": frames, "frames_valid": np.arange(shots) < count,
        **{name: np.stack([text[name] for text in texts]) for name in texts[0]},
        "references": pictures, "references_valid": np.arange(references) < found, "shows": shows,
    }  # fmt: skip
