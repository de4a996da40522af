"""Draws held-out toy stories as boards, from their captions alone, and shows them beside the true ones.

    python tools/compare_boards.py --data data/toy --out out/compared

Writes boards.html (every shot, with what the probe reads otherwise in it) and boards.png (all boards, true above drawn; what
has a fault is framed).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from data_pipeline.records import open_records
from data_pipeline.toy_cinema.scores import POSITION, Outcome
from stage_jax import files
from stage_jax.cli.arguments import whole
from stage_jax.errors import InputError
from stage_jax.evaluation.held_out import HeldOut, held_out
from stage_jax.evaluation.levels import MOTION
from stage_jax.evaluation.sheets import board_rows, frame_rows
from stage_jax.evaluation.step2 import read_boards, roll_out
from stage_jax.film.compared_page import ComparedBoard, ComparedShot, compared_page
from stage_jax.film.png import write_png
from stage_jax.generate.models import load_models
from stage_jax.generate.pairs import PairSampler
from stage_jax.progress import Progress

FRAME = np.array((214, 60, 40), np.uint8)  # round what has a fault


def faults(found: Sequence[Outcome], shot: int) -> dict[str, set[int]]:
    """Of one shot: what is read otherwise, and in which of its frames (0: start, 1: end)."""
    said: dict[str, set[int]] = {}
    for o in found:
        if o.shot == shot and o.error and o.attribute not in (POSITION, MOTION):
            who = f"{o.name}: " if o.name else ""
            line = f"{who}{o.attribute} {o.read}, where the story has {o.truth}"
            said.setdefault(line, set()).add(("start", "end").index(str(o.which)))
    return said


def compared(held: HeldOut, drawn: UInt8[np.ndarray, "shots 2 h w 3"], found: Sequence[Outcome]) -> ComparedBoard:
    shots = []
    for i, (scene, shot) in enumerate(held.shots):
        lines = [
            f"{('start', 'end')[min(frames)] if len(frames) == 1 else 'both'}: {line}"
            for line, frames in faults(found, i).items()
        ]
        shots.append(ComparedShot(held.story.shot_name(scene, shot), shot.description, held.pairs[i], drawn[i], lines))
    return ComparedBoard(f"Story {held.index}", shots)


def framed(drawn: UInt8[np.ndarray, "shots 2 h w 3"], found: Sequence[Outcome]) -> UInt8[np.ndarray, "shots 2 h w 3"]:
    """With a frame round the pictures that have faults."""
    marked = drawn.copy()
    for i in range(len(drawn)):
        for which in set().union(*faults(found, i).values()):
            for edge in (np.s_[:2], np.s_[-2:], np.s_[:, :2], np.s_[:, -2:]):
                marked[i, which][edge] = FRAME
    return marked


def compare(args: argparse.Namespace, progress: Progress) -> None:
    models = load_models(args.model, fill=False)
    stories = [held.first(args.shots) for held in held_out(open_records(args.data, "test"), args.stories, args.shots)]
    told = lambda label: lambda done, total: progress.step(label, done, total)  # noqa: E731
    sampler, shape = PairSampler(models.step2, models.captions), models.latent_shape()
    drawn = roll_out(
        sampler, models.codec, stories, shape, seed=args.seed, recipe=models.step2.recipe, progress=told("drawing")
    )
    found = read_boards(stories, drawn, told("reading"))
    boards = [compared(held, pictures, found[held.index]) for held, pictures in zip(stories, drawn, strict=True)]
    marked = [framed(pictures, found[held.index]) for held, pictures in zip(stories, drawn, strict=True)]
    names = [f"story {held.index}" for held in stories]
    rows = board_rows(names, {"true": [held.pairs for held in stories], "drawn": marked}, len(stories))
    said = f"Each shot remembers what was drawn before it. Model {models.hashes['step2'][:12]}, seed {args.seed}."
    args.out.mkdir(parents=True, exist_ok=True)
    write_png(args.out / "boards.png", frame_rows(rows, scale=1))
    files.write_text(args.out / "boards.html", compared_page("Held-out boards, true and drawn", said, boards))
    wrong = sum(bool(shot.faults) for board in boards for shot in board.shots)
    print(f"{args.out / 'boards.html'}: {len(boards)} boards, {wrong} of {len(boards) * args.shots} shots with faults")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description="Shows drawn boards beside the true ones.")
    shipped = Path(str(resources.files("stage_jax") / "assets/tiny"))
    made.add_argument("--model", metavar="DIR", type=Path, default=shipped, help="a model folder (the shipped one)")
    made.add_argument("--data", metavar="DIR", type=Path, required=True, help="toy records")
    made.add_argument("--out", metavar="DIR", type=Path, required=True, help="for boards.html and boards.png")
    made.add_argument("--stories", metavar="N", type=whole(1), default=20, help="held-out stories (20)")
    made.add_argument("--shots", metavar="N", type=whole(1), default=6, help="of each, from the first one on (6)")
    made.add_argument("--seed", metavar="N", type=whole(0), default=0, help="of all noise (0)")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        compare(args, Progress())
    except (InputError, OSError) as error:
        print(f"compare_boards: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
