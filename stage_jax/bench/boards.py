"""What a shot of a board costs: early and late in a story, with every packing of the memory, on this machine.

A late shot has a larger bank to rank, and the same tokens: `jax.jit` compiles one program per packing.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from math import prod

import numpy as np

from stage_jax.generate.bank import Bank, stack_memory
from stage_jax.generate.models import Models
from stage_jax.generate.pairs import PairSampler
from stage_jax.recipes.packing import PACKINGS
from stage_jax.recipes.step2_config import STEP2Config
from stage_jax.story.types import Character, Location, Scene, Shot, Story

SHOTS = (5, 200)  # shots of which the time is taken, counted from 1


@dataclasses.dataclass(frozen=True)
class PackCost:
    """tokens: of the pair and of the memory. seconds: of one shot, a round each, by the shot's number. programs: compiled for
    all of them."""

    packing: str
    pair_tokens: int
    memory_tokens: int
    seconds: Mapping[int, list[float]]
    programs: int

    def late_to_early(self) -> float:
        """The median over rounds of a late shot's time over an early one's in the same round."""
        early, late = (self.seconds[number] for number in (min(self.seconds), max(self.seconds)))
        return statistics.median(b / a for a, b in zip(early, late, strict=True))


def bench_boards(
    models: Models,
    caption: str,
    *,
    rounds: int = 5,
    shots: Sequence[int] = SHOTS,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[PackCost]:
    """Packs, draws, decodes and remembers the shots of these numbers in turns, with the model's recipe in every packing.

    caption: of all shots, in words that the model knows. Latents of earlier shots are noise: their values cost nothing."""
    found = []
    for packing in PACKINGS:
        recipe = dataclasses.replace(models.step2.recipe, packing=packing)
        sampler = PairSampler(dataclasses.replace(models.step2, recipe=recipe), models.captions)
        banks = {number: _filled(models, recipe, caption, number - 1) for number in shots}
        seconds: dict[int, list[float]] = {number: [] for number in shots}
        for number in shots:
            _draw(models, sampler, banks[number], caption)  # compiles
        for done in range(rounds):
            for number in shots if done % 2 else reversed(shots):
                start = time.perf_counter()
                _draw(models, sampler, banks[number], caption)
                seconds[number].append(time.perf_counter() - start)
            if progress:
                progress(f"packing {packing}", done + 1, rounds)
        frame = prod(models.latent_shape()[1:]) // 4
        memory = sum(prod(size) // 4 for size in banks[shots[0]].sizes)
        found.append(PackCost(packing, 2 * frame, memory, seconds, sampler.programs()))
    return found


def _filled(models: Models, recipe: STEP2Config, caption: str, count: int) -> Bank:
    """The bank of a story of which so many shots are drawn."""
    scene = Scene("SC01", location="a")
    shot = Shot("SH010", caption, characters=("b",))
    bank = Bank(Story("t", characters=(Character("b", "B"),), locations=(Location("a", "A"),)), models.latent_shape(), recipe)
    rng = np.random.default_rng(0)
    for _ in range(count):
        bank.add(scene, shot, rng.standard_normal((2, *models.latent_shape()), dtype=np.float32))
    return bank


def _draw(models: Models, sampler: PairSampler, bank: Bank, caption: str) -> None:
    """What `draw_board` does for a shot; the bank keeps its size."""
    scene, shot = bank.shots[-1]
    chosen = bank.pack(scene, shot)
    latents = sampler([caption], stack_memory([bank], [chosen]), [0])[0]
    models.codec.decode_stills(latents)
    np.asarray(latents)
