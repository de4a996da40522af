"""Measures the probe of level `full` on frames that are known for what they are, and writes the tables.

    python tools/probe_tables.py --stories 60 --out docs/PROBE.md

True pairs of test stories; the same, soft and noisy; with the characters swapped; another story's; and plain noise. Cuts that
are kept and cuts that are broken. Every figure stands beside its chance and its ceiling, which is what is read from true pairs.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_pipeline.toy_cinema.full import probe, render, scores, stories, world
from data_pipeline.toy_cinema.full.world import FullStory
from stage_jax.files import write_bytes
from stage_jax.progress import Progress

GIVEN = ("true", "soft and noisy", "swapped characters", "another story", "noise")
BLUR, NOISE = 1.0, 12.0  # pixels, grey values


def spoiled(pictures: np.ndarray, seed: int) -> np.ndarray:
    """A Gaussian blur of BLUR pixels, then noise of NOISE grey values."""
    taps = np.exp(-((np.arange(-3, 4) / BLUR) ** 2) / 2)
    taps /= taps.sum()
    soft = pictures.astype(np.float32)
    for axis in (-3, -2):
        moved = np.moveaxis(soft, axis, 0)
        padded = np.pad(moved, [(3, 3)] + [(0, 0)] * (moved.ndim - 1), mode="edge")
        soft = np.moveaxis(sum(t * padded[i : i + len(moved)] for i, t in enumerate(taps)), 0, axis)
    noisy = soft + np.random.default_rng(seed).normal(size=soft.shape) * NOISE
    return noisy.clip(0, 255).round().astype(np.uint8)


def swapped(story: FullStory) -> FullStory:
    """The story with every character in the next one's part."""
    return dataclasses.replace(story, characters=(*story.characters[1:], story.characters[0]))


def given_pairs(kind: str, story: FullStory, other: FullStory) -> np.ndarray | None:
    """Pairs that claim to be the story's; None where there is nothing to swap."""
    if kind == "swapped characters":
        return scores.true_pairs(swapped(story)) if len(story.characters) > 1 else None
    if kind == "another story":
        pairs = scores.true_pairs(other)
        return pairs[np.arange(len(story.shots)) % len(pairs)]
    truth = scores.true_pairs(story)
    if kind == "soft and noisy":
        return spoiled(truth, story.seed)
    if kind == "noise":
        return np.random.default_rng(story.seed).integers(0, 256, truth.shape, np.uint8)
    return truth


def confusion(counts: collections.Counter, rows: Sequence[str], columns: Sequence[str], corner: str) -> str:
    """A Markdown table of (row, column) counts."""
    lines = [f"| {corner} | " + " | ".join(columns) + " |", "| --- |" + " --- |" * len(columns)]
    lines += [f"| {row} | " + " | ".join(str(counts[row, column]) for column in columns) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def attribute_table(found: dict[str, list], attribute: str) -> str:
    """Truth against reading on true frames, then on soft and noisy ones."""
    parts = []
    for kind in GIVEN[:2]:
        counts = collections.Counter((o.truth, o.read) for o in found[kind] if o.attribute == attribute)
        parts.append(f"{kind}:\n\n" + confusion(counts, scores.OPTIONS[attribute], scores.OPTIONS[attribute], "truth \\ read"))
    return "\n".join(parts)


def cut_table(chosen: Sequence[FullStory], progress: Progress) -> str:
    """Kept and broken cuts as the probe reads them, from exact pairs and from soft and noisy ones."""
    counts: collections.Counter = collections.Counter()
    for done, story in enumerate(chosen):
        for i, shot in enumerate(story.shots):
            if shot.goes_on:
                kind = "match on action" if shot.actions[0] == world.LAND else "screen direction"
                drawn = {"before": story.shots[i - 1], scores.KEPT: shot, scores.BROKEN: world.backwards(shot)}
                pairs = {name: render.render_pair(story, what) for name, what in drawn.items()}
                for how, looked in (("", pairs), (", soft and noisy", {n: spoiled(p, i) for n, p in pairs.items()})):
                    actions = {
                        name: probe.read_actions(*probe.read_pair(pair, asked), asked.size)[0]
                        for name, pair in looked.items()
                        for asked in [story.shots[i - 1] if name == "before" else shot]
                    }
                    for truth in (scores.KEPT, scores.BROKEN):
                        kept = probe.cut_is_kept(actions["before"], actions[truth])
                        counts[f"{kind}, {truth}{how}", scores.KEPT if kept else scores.BROKEN] += 1
        progress.step("cuts", done + 1, len(chosen))
    return confusion(counts, sorted({row for row, _ in counts}), (scores.KEPT, scores.BROKEN), "cut \\ read")


def measure(chosen: Sequence[FullStory], progress: Progress) -> str:
    """The whole page of tables."""
    found: dict[str, list] = {kind: [] for kind in GIVEN}
    verdicts: collections.Counter = collections.Counter()
    for done, story in enumerate(chosen):
        for kind in GIVEN:
            pairs = given_pairs(kind, story, chosen[done - 1])
            before = None
            for i, pair in enumerate(pairs if pairs is not None else ()):
                readings = probe.read_pair(pair, story.shots[i])
                found[kind] += scores.shot_outcomes(story, i, readings, before)
                verdicts.update((kind, scores.verdict(reading, story, i)) for reading in readings)
                before = readings
        progress.step("stories", done + 1, len(chosen))
    ceilings = scores.summary(found["true"])
    parts = [HEAD.format(stories=len(chosen), blur=BLUR, noise=NOISE), "## What frames are\n"]
    parts.append(confusion(verdicts, GIVEN, scores.VERDICTS, "given \\ taken for"))
    for kind in GIVEN:
        parts += [f"## Attributes: {kind}\n", scores.score_table(scores.summary(found[kind]), ceilings)]
    parts += ["## Cuts\n", cut_table(chosen, progress)]
    for attribute in scores.OPTIONS:
        if attribute != scores.CUT:
            parts += [f"## {attribute.capitalize()}\n", attribute_table(found, attribute)]
    return "\n".join(parts)


HEAD = """# What the probe of level `full` reads

Written by `python tools/probe_tables.py`: {stories} stories of the test split at 64x64, each frame read by comparing it with
exact renders (`data_pipeline/toy_cinema/full/probe.py`). Chance is a blind guess among equals; the ceiling is what is read from
the true frames. Soft and noisy: a blur of {blur:g} pixel, then noise of {noise:g} grey values. Swapped characters: in stories
that have two or three. Another story's frames are read as if they were the shots of this one. Counts are frames in the first
table, and appearances or shots in the others. In another story's frames and in noise a figure seldom
seems to go the same way twice, so that cuts read as broken more often than a coin would have it.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stories", type=int, default=60, help="of the test split (60)")
    parser.add_argument("--out", type=Path, required=True, help="a Markdown file")
    args = parser.parse_args()
    with Progress() as progress:
        page = measure([stories.random_story(seed, "test") for seed in range(args.stories)], progress)
    write_bytes(args.out, page.encode())


if __name__ == "__main__":
    main()
