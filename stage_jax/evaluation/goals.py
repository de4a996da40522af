"""What the tiny models are asked to reach, and the floors below that."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from stage_jax.evaluation.figures import Figure, FloatLike


@dataclasses.dataclass(frozen=True)
class Goal:
    """least or most: the bound of a figure; floor: where it may stop if the goal cannot be had. of_chance: most is measured
    as a distance from the figure's chance, on both sides."""

    least: FloatLike | None = None
    most: FloatLike | None = None
    floor: FloatLike | None = None
    of_chance: bool = False

    def verdict(self, figure: Figure) -> str:
        """"≥ 28: met", "≥ 28: short, above the floor 26.5" or "≥ 28: missed"."""
        value = abs(figure.value - figure.chance) if self.of_chance else figure.value
        if self.least is not None:
            asked, met, holds = f"≥ {self.least:g}", value >= self.least, self.floor is not None and value >= self.floor
        else:
            asked, met, holds = f"≤ {self.most:g}", value <= self.most, self.floor is not None and value <= self.floor
        asked += " from chance" if self.of_chance else ""
        return f"{asked}: " + ("met" if met else f"short, floor {self.floor:g} holds" if holds else "missed")


GOALS: dict[str, Goal] = {
    **{f"vae: stills, read by the probe: {what}": Goal(least=0.99) for what in ("colour", "shape", "hat", "place")},
    "vae: stills: PSNR": Goal(least=30, floor=28),
    "vae: clips, later frames: PSNR": Goal(least=27, floor=25),
    "step2: true history: colour": Goal(least=0.92, floor=0.75),
    "step2: true history: shape": Goal(least=0.88),
    "step2: true history: place": Goal(least=0.97, floor=0.90),
    "step2: true history: hat": Goal(least=0.60),
    "step2: memory off: colour": Goal(most=0.10, of_chance=True),
    "step2: memory off: place": Goal(most=0.10, of_chance=True),
    "step2: velocity loss at sigma 0.95: gain of memory": Goal(least=0.50, floor=0.40),
    "step2: velocity loss at sigma 0.95: another story's / none": Goal(least=1.0),
    "step2: own rollout: colour": Goal(least=0.85, floor=0.65),
    "step2: own rollout: place": Goal(least=0.95),
    "filler: first frame to the given picture: filler - VAE of the pair": Goal(least=-1.5),
    "filler: last frame to the given picture: filler - VAE of the pair": Goal(least=-1.5),
    "filler: position error of inner frames: filler / cross-fade": Goal(most=0.5),
    "filler: position error of inner frames: filler / first frame": Goal(most=1.0),
    "filler: another shot's pair: its identity": Goal(least=0.80),
    "demo: all seeds: body colour": Goal(least=0.80),
    "demo: all seeds: place": Goal(least=0.80),
    "demo: all seeds: body colour and place": Goal(least=0.80),
}


IDENTITY = ("colour", "shape", "hat", "place", "sky", "ground", "prop")
# What a STEP2 trained at length has to reach on level `easy`, on 200 held-out stories and three sampling seeds.
STEP2_GOALS: dict[str, Goal] = {
    "step2: true history: colour": Goal(least=0.97, floor=0.92),
    "step2: true history: shape": Goal(least=0.97, floor=0.90),
    "step2: true history: place": Goal(least=0.97, floor=0.97),
    "step2: true history: hat": Goal(least=0.90, floor=0.70),
    **{f"step2: memory off: {what}": Goal(most=0.10, of_chance=True) for what in ("colour", "shape", "place", "hat")},
    "step2: velocity loss at sigma 0.95: gain of memory": Goal(least=0.60, floor=0.50),
    "step2: velocity loss at sigma 0.95: another story's / none": Goal(least=1.0),
    **{f"step2: fall over 6 shots: {what}": Goal(most=0.03) for what in ("colour", "shape", "place", "hat")},
    **{f"step2: fall over 12 shots: {what}": Goal(most=0.08) for what in ("colour", "shape", "place", "hat")},
    "step2: own rollout of 6 shots: colour": Goal(least=0.88),
    "step2: own rollout of 6 shots: place": Goal(least=0.95),
    "step2: dual encoding: start-end gap, smaller by": Goal(least=0.30),
    "step2: true history, asked for: motion": Goal(least=0.80, floor=0.60),
    "step2: true history, asked for: camera": Goal(least=0.80),
    **{
        f"step2: change by DPO: preferences, {kind}: pair accuracy": Goal(least=0.10, floor=0.05)
        for kind in ("interior", "screen direction", "match on action")
    },
    **{
        f"step2: change by DPO: preferences, {kind}: error, chosen": Goal(most=0.0)
        for kind in ("interior", "screen direction", "match on action")
    },
    "step2: change by DPO: cut": Goal(least=0.10),
    **{f"step2: change by DPO: {what}": Goal(least=-0.02) for what in IDENTITY},
}


def verdict(figure: Figure, goals: Mapping[str, Goal] = GOALS) -> str:
    """What a figure's goal says of it; empty if it has none."""
    goal = goals.get(figure.name)
    return "" if goal is None else goal.verdict(figure)
