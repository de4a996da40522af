"""Storyboards with reference roles for DreamShot: some shots of a story, and a picture of each role from somewhere else.

DreamShot (arXiv 2604.17195) takes a role's reference from another group of shots, so that the model cannot copy it into
place. Here it is one of the reference pictures that the records hold of the role; without any, a frame of another story that
has the same role, else of a shot of the same story that is not on the board. Two roles are the same if they are described in
the same words (our choice: the script says it exactly).
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Sequence

import einops
import grain
import numpy as np
from jaxtyping import Float

from data_pipeline.cache import Latents
from data_pipeline.loader import Examples
from data_pipeline.records import RecordSource
from data_pipeline.shots import Batch, ShotSource
from stage_jax.story.types import Story


class RoleSource:
    """Every story of a cache of pairs, and where else its roles are seen.

    references: the cache of that kind, if the records hold reference pictures. records: those that the cache of pairs was made
    of, opened for `masks`, if they hold role masks."""

    def __init__(self, source: ShotSource, references: Latents | None = None, records: RecordSource | None = None):
        self.source, self.references, self.records = source, references, records
        self.seen: dict[str, list[int]] = defaultdict(list)  # rows of shots that show a role alone, by its words
        self.story_of = [story for story, _ in source.where]
        for row, (story, shot) in enumerate(source.where):
            shown = source.shots[story][shot][1].characters
            if len(shown) == 1 and (words := role_words(source.cache.stories[story]).get(shown[0])):
                self.seen[words].append(row)
        roles = [(s, character.id) for s, story in enumerate(source.cache.stories) for character in story.characters]
        self.given: dict[tuple[int, str], list[int]] = defaultdict(list)  # rows of `references`, by story and role
        for row, role in enumerate(references.characters if references else ()):
            self.given[roles[role]].append(row)

    def __len__(self) -> int:
        return len(self.source.shots)

    def __getitem__(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return index

    def reference(
        self, story: int, name: str, board: range, rng: np.random.Generator
    ) -> tuple[Float[np.ndarray, "c h w"], Float[np.ndarray, "h w"]] | None:
        """A picture of a role and where in it the role is: everywhere, if no mask says it. None if there is no picture.

        One that the records hold, else the start or end frame of a shot that shows the role alone: of another story, else of
        this one and not in `board` (rows)."""
        cache = self.source.cache
        if given := self.given.get((story, name)):
            picture = self.references.latents[given[rng.integers(len(given))], 0]
            return picture, np.ones(picture.shape[1:], np.float32)
        words = role_words(cache.stories[story])[name]
        rows = self.seen.get(words, [])
        places = [row for row in rows if self.story_of[row] != story] or [row for row in rows if row not in board]
        if not places:
            return None
        row, end = places[rng.integers(len(places))], rng.integers(2)
        elsewhere, shot = self.source.where[row]
        shown = self.source.shots[elsewhere][shot][1].characters[0]
        covered = self.covered(elsewhere, [shown])[shot, 0, end]
        return cache.latents[row, end], covered if covered.any() else np.ones_like(covered)

    def covered(self, story: int, names: Sequence[str]) -> Float[np.ndarray, "shots names 2 h w"]:
        """The share of each cell of the latents of start and end frames that a role covers; 0 everywhere if nobody knows."""
        labels = self.records[story]["masks"] if self.records else np.zeros(0, np.uint8)
        shots, (h, w) = len(self.source.shots[story]), self.source.cache.latents.shape[-2:]
        if not len(labels):
            return np.zeros((shots, len(names), 2, h, w), np.float32)
        ids = [character.id for character in self.source.cache.stories[story].characters]
        frames = labels.reshape(shots, -1, *labels.shape[1:])[:, None, :2]
        roles = np.array([1 + ids.index(name) for name in names], np.uint8)[:, None, None, None]
        return einops.reduce((frames == roles).astype(np.float32), "s r n (h y) (w x) -> s r n h w", "mean", h=h, w=w)


def role_words(story: Story) -> dict[str, str]:
    """What a character is told apart by, by its id; empty if the story does not describe it."""
    return {character.id: character.description.strip().lower() for character in story.characters}


def role_examples(
    roles: RoleSource, shots: int, references: int, dropout: dict[str, float], seed: int
) -> grain.MapDataset:
    """A board of up to `shots` shots in a row and up to `references` roles on it, in the order in which they appear.

    frames [shots, C, h, w] (start frames), frames_valid [shots], ids and mask [shots, L]; references [references, C, h, w],
    references_valid; shows [shots, references], which role is on which frame; masks [shots, references, h, w] and
    reference_masks [references, h, w], the share of each cell of the latents that the role covers, 0 on frames and 1 on
    references where nobody knows. What is absent is zero, at the end. dropout: `caption` puts the empty caption in all places,
    `references` leaves all of them out (the branches of guidance)."""
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
    covers = np.zeros((references, *frames.shape[2:]), np.float32)
    masks = np.zeros((shots, references, *frames.shape[2:]), np.float32)
    shows = np.zeros((shots, references), bool)
    found: list[str] = []
    for name in dict.fromkeys(who for _, shot in told[first : first + count] for who in shot.characters):
        seen = None if bare or len(found) == references else roles.reference(story, name, board, rng)
        if seen is not None:
            pictures[len(found)], covers[len(found)] = seen
            shows[:count, len(found)] = [name in shot.characters for _, shot in told[first : first + count]]
            found.append(name)
    masks[:count, : len(found)] = roles.covered(story, found)[first : first + count, :, 0]
    return {
        "frames": frames, "frames_valid": np.arange(shots) < count,
        **{name: np.stack([text[name] for text in texts]) for name in texts[0]},
        "references": pictures, "references_valid": np.arange(references) < len(found), "shows": shows,
        "masks": masks, "reference_masks": covers,
    }  # fmt: skip
