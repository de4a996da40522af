"""Draws a story of many shots, and says whether a shot late in it takes longer, or more memory, than an early one.

    python tools/measure_long_story.py --out out/long             # the pairs of 100 shots, with the page that shows them
    python tools/measure_long_story.py --out out/long --film      # and their clips, the film and all files round them

Writes long_story.json and long_story.png beside the story's folder in OUT. Seconds are those between the end of one shot and of
the next. Linux only (/proc). On a machine that does other work the times say little.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np

from data_pipeline.toy_cinema.world import EASY, random_story
from data_pipeline.toy_cinema.written import to_story
from stage_jax import files
from stage_jax.cli.arguments import whole
from stage_jax.errors import InputError
from stage_jax.film.make import make_film
from stage_jax.film.make_boards import make_boards
from stage_jax.progress import Progress
from stage_jax.story.types import story_to_json

matplotlib.use("Agg")
import matplotlib.pyplot as plt

EARLY, LATE = (5, 15), 11  # shots from the 5th to the 15th, against the last eleven
RESAMPLES = 10_000
MIB = 2**20


@dataclasses.dataclass(frozen=True)
class Shots:
    """What each shot of one kind of work took. seconds: from the end of the shot before it. resident, peak: bytes of the
    process when it was done."""

    seconds: list[float]
    resident: list[int]
    peak: list[int]

    def late_to_early(self) -> tuple[float, float, float]:
        """The mean seconds of late shots over those of early ones, and its 95 % interval (bootstrap over shots)."""
        early, late = np.array(self.seconds[EARLY[0] - 1 : EARLY[1]]), np.array(self.seconds[-LATE:])
        rng = np.random.default_rng(0)
        means = [part[rng.integers(len(part), size=(RESAMPLES, len(part)))].mean(1) for part in (early, late)]
        low, high = np.percentile(means[1] / means[0], [2.5, 97.5])
        return float(late.mean() / early.mean()), float(low), float(high)

    def growth(self) -> float:
        """Bytes that a shot adds to the process: least squares over all from the early ones on."""
        kept = np.array(self.resident[EARLY[0] - 1 :], float)
        return float(np.polyfit(np.arange(len(kept)), kept, 1)[0])


class Watch(Progress):
    """Tells progress, and notes when each step was done and what the process had then."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds: dict[str, Shots] = {}
        self._last = time.perf_counter()

    def step(self, label: str, done: int, total: int) -> None:
        now = time.perf_counter()
        shots = self.kinds.setdefault(label, Shots([], [], []))
        resident, peak = memory()
        for values, value in ((shots.seconds, now - self._last), (shots.resident, resident), (shots.peak, peak)):
            values.append(value)
        super().step(label, done, total)
        self._last = time.perf_counter()


def memory() -> tuple[int, int]:
    """What this process has in memory, and the most that it ever had, in bytes."""
    told = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return tuple(int(told[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))


def plot(kinds: dict[str, Shots], path: Path) -> None:
    """Seconds and memory of every shot from the second on, a column for each kind of work."""
    figure, axes = plt.subplots(2, len(kinds), figsize=(6 * len(kinds), 5), squeeze=False, sharex=True)
    for (upper, lower), (label, shots) in zip(axes.T, kinds.items(), strict=True):
        numbers = np.arange(2, len(shots.seconds) + 1)
        upper.plot(numbers, shots.seconds[1:], color="tab:blue", linewidth=1)
        lower.plot(numbers, np.array(shots.peak[1:]) / MIB, color="0.7", label="most so far")
        lower.plot(numbers, np.array(shots.resident[1:]) / MIB, color="tab:orange", label="resident")
        upper.set(title=f"{label}: the first shot took {shots.seconds[0]:.1f} s", ylabel="seconds a shot", ylim=(0, None))
        lower.set(xlabel="shot", ylabel="MiB", ylim=(0, None))
        lower.legend(loc="lower right")
        for axis in (upper, lower):
            axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def measure(args: argparse.Namespace) -> None:
    folder, story = args.out / "story", args.out / "story.json"
    if folder.exists():
        raise InputError(f"{folder}: found an earlier run's work, expected a folder to begin in")
    toy = random_story(args.seed, dataclasses.replace(EASY, shots=(args.shots, args.shots)), "test")
    files.write_text(story, json.dumps(story_to_json(to_story(toy)), indent=1) + "\n")
    start = time.perf_counter()
    with Watch() as watch:
        if args.film:
            make_film(story, folder, watch, model=args.model, steps=args.steps)
        else:
            make_boards([story], folder, watch, model=args.model, steps=args.steps)
    in_all, (_, peak) = time.perf_counter() - start, memory()
    told = {"shots": args.shots, "seconds": in_all, "peak": peak, "kinds": {}}
    for label, shots in watch.kinds.items():
        (ratio, low, high), growth = shots.late_to_early(), shots.growth()
        told["kinds"][label] = dataclasses.asdict(shots) | {"late_to_early": [ratio, low, high], "growth": growth}
        print(
            f"{label}: the last {LATE} shots took {ratio:.3f} ({low:.3f} to {high:.3f}) of the time of shots "
            f"{EARLY[0]} to {EARLY[1]}; {growth / MIB:+.3f} MiB a shot, most {max(shots.peak) / MIB:.0f} MiB"
        )
    print(f"all of it: {in_all:.0f} s, most {peak / MIB:.0f} MiB")
    files.write_text(args.out / "long_story.json", json.dumps(told, indent=1) + "\n")
    plot(watch.kinds, args.out / "long_story.png")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="for the figures and, in story/, what is made")
    parser.add_argument("--shots", metavar="N", type=whole(EARLY[1] + LATE, 10_000), default=100, help="of the story (100)")
    parser.add_argument("--film", action="store_true", help="clips and film, too")
    parser.add_argument("--model", metavar="DIR", type=Path, help="a model folder in the toy's words (the shipped one)")
    parser.add_argument("--steps", metavar="N", type=whole(1, 1000), help="sampling steps (the model's own)")
    parser.add_argument("--seed", metavar="N", type=whole(0), default=0, help="of the toy story (0)")
    args = parser.parse_args(argv)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        measure(args)
    except (InputError, OSError) as error:
        print(f"measure_long_story: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
