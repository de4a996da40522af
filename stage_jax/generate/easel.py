"""Where a shot's pair comes from: a person, an earlier run, or the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from stage_jax.generate.bank import Bank, stack_memory
from stage_jax.generate.edits import Edits
from stage_jax.generate.models import Models
from stage_jax.generate.pairs import Known, PairSampler
from stage_jax.recipes.memory import Slot
from stage_jax.story.board import Candidate, Pair
from stage_jax.story.hashes import content_hash, pixel_hash

PARTS = ("vae", "umt5", "step2", "clip")  # of the models, that a pair comes from
ENDS = ("start", "end")


@dataclasses.dataclass(frozen=True, eq=False)
class Request:
    """A shot to be drawn: `chosen` is what it remembers of `bank`, `tokens` are those of the recipe's image branch, `before` is
    the end frame of the shot before it, where no cut lies between them: its start frame, unless a person gives another."""

    name: str
    caption: str
    seed: int
    bank: Bank
    chosen: Sequence[Slot]
    tokens: Float[np.ndarray, "1 m e"] | None
    before: UInt8[np.ndarray, "h w 3"] | None = None

    def seen_key(self) -> str:
        """The hash of all that the shot sees of earlier ones."""
        pictures = [None if self.tokens is None else pixel_hash(self.tokens)]
        pictures += [] if self.before is None else [pixel_hash(self.before)]
        return content_hash([self.bank.content(self.chosen), *pictures])


@dataclasses.dataclass(frozen=True, eq=False)
class Drawn:
    """A pair, its latents for the bank, and what else a `BoardShot` tells of it."""

    pair: Pair
    latents: Float[np.ndarray, "2 c h w"]
    about: dict[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Easel:
    models: Models
    sampler: PairSampler
    edits: Edits

    def draw(self, shot: Request) -> Drawn:
        pack_key = shot.seen_key()
        given = {} if shot.before is None else {"start": shot.before}
        given |= {end: picture for end in ENDS if (picture := self.edits.given.get((shot.name, end))) is not None}
        earlier, pair = self.edits.earlier.get(shot.name), self.edits.kept.get(shot.name)
        if pair is None and earlier and earlier[0] == pack_key:
            pair = earlier[1]
        if pair is not None:
            return self._known_pair(shot, pair, "kept", pack_key)
        if len(given) == len(ENDS):
            return self._known_pair(shot, Pair(**given), "given", pack_key)
        return self._take(shot, given, pack_key)

    def _known_pair(self, shot: Request, pair: Pair, source: str, pack_key: str) -> Drawn:
        return Drawn(pair, self.latents(_frames(pair)), dict(source=source, seed=shot.seed, memory=(), pack_key=pack_key))

    def _take(self, shot: Request, given: dict[str, Any], pack_key: str) -> Drawn:
        """The candidate that was chosen, out of those that are asked for."""
        take, drawn = self.edits.takes.get(shot.name, 1), {}
        for number in self.edits.numbers(shot.name):
            seed = candidate_seed(shot.seed, number)
            drawn[number] = (seed, *self._pair(shot, seed, given, pack_key))
        seed, pair, latents, key = drawn[take]
        several = [Candidate(number, seed, pair) for number, (seed, pair, *_) in drawn.items()] if len(drawn) > 1 else []
        return Drawn(pair, latents, dict(
            source="step2", seed=seed, memory=shot.bank.entries(shot.chosen), given=tuple(given), take=take,
            candidates=tuple(several), key=key, pack_key=pack_key,
        ))  # fmt: skip

    def _pair(
        self, shot: Request, seed: int, given: dict[str, Any], pack_key: str
    ) -> tuple[Pair, Float[np.ndarray, "2 c h w"], str]:
        """Found by the hash of all that it comes from, or drawn."""
        shelf, hashes = self.edits.shelf, self.models.hashes
        key = content_hash({
            "caption": shot.caption, "memory": pack_key, "seed": seed,
            "given": {end: pixel_hash(picture) for end, picture in given.items()},
            "sampling": self.sampler.settings, "recipe": dataclasses.asdict(self.models.step2.recipe),
            "weights": {part: hashes[part] for part in PARTS if part in hashes},
        })  # fmt: skip
        found = shelf.get(key) if shelf and shot.name not in self.edits.afresh else None
        if not found:
            memory = stack_memory([shot.bank], [shot.chosen])
            known = self._known(given)
            latents = self.sampler([shot.caption], memory, [seed], shot.tokens, known)[0]
            drawn = zip(ENDS, self.models.codec.decode_stills(latents), strict=True)
            frames = np.stack([given.get(end, frame) for end, frame in drawn])
            found = {"frames": frames, "latents": np.asarray(latents)}
            if shelf:
                shelf.put(key, **found)
        pair = Pair(*found["frames"])
        frames_key = self._frames_key(_frames(pair))
        if shelf and not shelf.get(frames_key):  # for when the shot is locked, and only its frames are known
            shelf.put(frames_key, latents=found["latents"])
        return pair, found["latents"], key

    def _known(self, given: dict[str, Any]) -> Known | None:
        if not given:
            return None
        some = next(iter(given.values()))
        latents = self.models.codec.encode_stills(np.stack([given.get(end, np.zeros_like(some)) for end in ENDS]))
        return np.asarray(latents, np.float32)[None], np.array([[end in given for end in ENDS]])

    def latents(self, frames: UInt8[np.ndarray, "n h w 3"]) -> Float[np.ndarray, "n c y x"]:
        """Those that frames were drawn from, if an earlier run knew them, or else those that the VAE sees in them."""
        shelf, key = self.edits.shelf, self._frames_key(frames)
        if shelf and (found := shelf.get(key)):
            return found["latents"]
        latents = np.asarray(self.models.codec.encode_stills(frames), np.float32)
        if shelf:
            shelf.put(key, latents=latents)
        return latents

    def _frames_key(self, frames: UInt8[np.ndarray, "n h w 3"]) -> str:
        return content_hash({
            "frames": [pixel_hash(frame) for frame in frames], "vae": self.models.hashes.get("vae", "")
        })  # fmt: skip


def _frames(pair: Pair) -> UInt8[np.ndarray, "2 h w 3"]:
    return np.stack([pair.start, pair.end])


def candidate_seed(seed: int, number: int) -> int:
    """The seed of a shot's candidate: the shot's for the first, and for the others one drawn from it."""
    return seed if number == 1 else int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
