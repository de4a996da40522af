"""Measures the tiny models on held-out toy stories: a table, figures.json, figures.md and pictures to look at.

    python tools/measure_tiny.py --data data/toy --out out/figures
    python tools/measure_tiny.py --model runs/tiny_vae/model --parts vae --data data/toy --out out/vae

The same model, data and seed give the same figures.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from data_pipeline.records import open_records
from stage_jax.cli.arguments import finite, whole
from stage_jax.evaluation.demo import demo_figures
from stage_jax.evaluation.figures import Figure
from stage_jax.evaluation.filler import filler_figures
from stage_jax.evaluation.goals import verdict
from stage_jax.evaluation.held_out import held_out
from stage_jax.evaluation.history import true_histories
from stage_jax.evaluation.memory_gain import ARMS, SIGMAS, loss_figures, velocity_losses
from stage_jax.evaluation.report import measure
from stage_jax.evaluation.sheets import bar_chart, board_rows, frame_rows
from stage_jax.evaluation.step2 import history_figures, rollout_figures
from stage_jax.evaluation.swapped import swapped_figure
from stage_jax.evaluation.vae import still_reconstructions, vae_figures
from stage_jax.film.png import write_png
from stage_jax.film.sheet import contact_sheet
from stage_jax.generate.clips import ClipSampler
from stage_jax.generate.models import load_models, read_codec
from stage_jax.generate.pairs import PairSampler
from stage_jax.progress import Progress
from stage_jax.weights.folder import read_manifest

ASSETS = Path(__file__).resolve().parents[1] / "stage_jax" / "assets"
ROLLOUT = 6  # shots
SHOWN = 6  # stories on a contact sheet
TESTED = "test"  # the split


def measure_vae(args: argparse.Namespace, progress: Progress) -> list[Figure]:
    codec, stories = read_codec(args.model), held_out(open_records(args.data, TESTED), args.stories)
    figures = vae_figures(codec, stories, progress.step)
    rows = []
    for held in stories[:SHOWN]:
        frames = held.stills.reshape(-1, *held.stills.shape[2:])[:12]
        rows += [(f"story {held.index}\ntruth", frames), ("VAE", still_reconstructions(codec, frames))]
    write_png(args.out / "vae.png", frame_rows(rows))
    return figures


def measure_step2(args: argparse.Namespace, progress: Progress) -> list[Figure]:
    models = load_models(args.model, fill=False)
    codec, captions, step2 = models.codec, models.captions, models.step2
    sampler = PairSampler(step2, captions, args.steps, args.guidance)
    records = open_records(args.data, TESTED)
    stories = held_out(records, args.stories)
    histories = true_histories(codec, stories, lambda done, total: progress.step("encoding", done, total))
    losses = loss_figures(
        velocity_losses(step2, captions, histories, draws=args.draws, seed=args.seed, progress=progress.step)
    )
    bars = {f"sigma {sigma}": [f for f in losses if f"sigma {sigma}" in f.measure and f.what in ARMS] for sigma in SIGMAS}
    write_png(args.out / "losses.png", bar_chart("Velocity loss by memory", bars))
    figures, boards = history_figures(sampler, codec, histories, seed=args.seed, progress=progress.step)
    names = [f"story {held.index}" for held in stories]
    write_png(args.out / "true_history.png", frame_rows(board_rows(names, boards, SHOWN)))
    long = [held.first(ROLLOUT) for held in held_out(records, args.stories, shots=ROLLOUT)]
    shape = histories[0].bank.latents.shape[1:]
    rolled, boards = rollout_figures(sampler, codec, long, shape, seed=args.seed, progress=progress.step)
    names = [f"story {held.index}" for held in long]
    write_png(args.out / "rollout.png", frame_rows(board_rows(names, boards, SHOWN)))
    return [*losses, *figures, *rolled]


def measure_filler(args: argparse.Namespace, progress: Progress) -> list[Figure]:
    models = load_models(args.model, draw=False)
    stories = held_out(open_records(args.data, TESTED), args.stories)
    figures, strips = filler_figures(
        ClipSampler(models), models.codec, stories, seed=args.seed, progress=progress.step
    )
    rows = [
        (f"{strip.name}\n{way}", clip[::2])
        for strip in strips
        for way, clip in (("true", strip.true), ("filler", strip.filler), ("cross-fade", strip.fade))
    ]
    write_png(args.out / "filler.png", frame_rows(rows))
    return figures


def measure_swapped(args: argparse.Namespace, progress: Progress) -> list[Figure]:
    models = load_models(args.model, draw=False)
    stories = held_out(open_records(args.data, TESTED), args.stories)
    return [swapped_figure(ClipSampler(models), models.codec, stories, seed=args.seed, progress=progress.step)]


def measure_demo(args: argparse.Namespace, progress: Progress) -> list[Figure]:
    models = load_models(args.model, fill="dit" in read_manifest(args.model)["parts"])
    sampler = PairSampler(models.step2, models.captions, args.steps, args.guidance)
    seeds = range(args.seed, args.seed + args.seeds)
    figures, boards = demo_figures(models, sampler, args.screenplay, seeds, progress.step)
    for seed, board in zip(seeds, boards, strict=True):
        write_png(args.out / f"demo_seed_{seed}.png", contact_sheet(board))
    return figures


PARTS: Mapping[str, Callable[[argparse.Namespace, Progress], list[Figure]]] = {
    "vae": measure_vae,
    "step2": measure_step2,
    "filler": measure_filler,
    "swapped": measure_swapped,
    "demo": measure_demo,
}


def parts_of(text: str) -> list[str]:
    """Names of parts between commas, for argparse."""
    names = text.split(",")
    if unknown := [name for name in names if name not in PARTS]:
        raise argparse.ArgumentTypeError(f"found {unknown[0]!r}, expected one or more of {','.join(PARTS)}")
    return names


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description="Measures the tiny models on held-out toy stories.")
    made.add_argument("--model", metavar="DIR", type=Path, default=ASSETS / "tiny", help="a model folder (the shipped one)")
    made.add_argument("--data", metavar="DIR", type=Path, default=Path("data/toy"), help="records with a test split")
    made.add_argument("--out", metavar="DIR", type=Path, required=True, help="where the figures go")
    made.add_argument("--parts", type=parts_of, default=list(PARTS), help=f"what to measure ({','.join(PARTS)})")
    made.add_argument("--stories", metavar="N", type=whole(2), default=100, help="held-out stories (100)")
    made.add_argument("--seed", metavar="N", type=whole(0), default=0, help="of all noise; the demo's first seed (0)")
    made.add_argument("--draws", metavar="N", type=whole(1), default=3, help="noises a shot for the losses (3)")
    made.add_argument("--seeds", metavar="N", type=whole(1), default=10, help="boards of the demo (10)")
    made.add_argument("--screenplay", metavar="FILE", type=Path, default=ASSETS / "demo.fountain", help="the demo's")
    made.add_argument("--steps", metavar="N", type=whole(1), help="sampling steps of STEP2 (the model's own)")
    made.add_argument("--guidance", metavar="X", type=finite, help="guidance of STEP2 (the model's own)")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    settings = {name: getattr(args, name) for name in ("stories", "seed", "draws", "seeds", "steps", "guidance")}
    parts = [functools.partial(PARTS[part], args) for part in args.parts]
    return measure("measure_tiny", [args.model], parts, args.out, verdict, settings)


if __name__ == "__main__":
    sys.exit(main())
