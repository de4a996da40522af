"""Measures STEP2 on held-out toy stories: memory, own rollout over 6 and 12 shots, dual encoding, preferences.

    python tools/measure_step2.py --model runs/tiny_step2/model --data data/toy --out out/step2
    python tools/measure_step2.py --model runs/sft/model --dpo runs/dpo/model --data data/toy_full --out out/dpo --parts dpo

Prints a table with chance and ceiling beside each figure, and writes it with figures.json. The same models, data and seeds give
the same figures; errors are clustered by story, 95 % intervals are 1.96 of them to each side.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from data_pipeline.records import open_records
from stage_jax.cli.arguments import finite, whole
from stage_jax.errors import InputError
from stage_jax.evaluation.acceptance import Examination, memory_and_pair_figures, preference_figures, rollout_figures
from stage_jax.evaluation.figures import Figure
from stage_jax.evaluation.goals import STEP2_GOALS, verdict
from stage_jax.evaluation.report import measure
from stage_jax.generate.models import load_models
from stage_jax.progress import Progress

Part = Callable[[argparse.Namespace, Progress], list[Figure]]


def examination(args: argparse.Namespace, model: Path, progress: Progress) -> Examination:
    return Examination(
        load_models(model, fill=False),
        open_records(args.data, args.split),
        stories=args.stories,
        seeds=tuple(range(args.seed, args.seed + args.seeds)),
        steps=args.steps,
        guidance=args.guidance,
        progress=progress.step,
    )


def measure_dpo(args: argparse.Namespace, progress: Progress) -> list[Figure]:
    if args.dpo is None:
        raise InputError("--parts dpo: found no --dpo, expected the model folder after DPO")
    return preference_figures(examination(args, args.model, progress), examination(args, args.dpo, progress))


PARTS: Mapping[str, Part] = {
    "memory": lambda args, progress: memory_and_pair_figures(examination(args, args.model, progress)),
    "rollout": lambda args, progress: rollout_figures(examination(args, args.model, progress)),
    "dpo": measure_dpo,
}


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description="Measures STEP2 on held-out toy stories.")
    made.add_argument("--model", metavar="DIR", type=Path, required=True, help="a model folder with step2, vae and umt5")
    made.add_argument("--dpo", metavar="DIR", type=Path, help="the same after DPO")
    made.add_argument("--data", metavar="DIR", type=Path, required=True, help="toy records")
    made.add_argument("--split", metavar="NAME", default="test", help="of the records (test)")
    made.add_argument("--out", metavar="DIR", type=Path, required=True, help="for figures.md and figures.json")
    made.add_argument("--parts", nargs="+", choices=PARTS, help="what to measure (memory rollout, and dpo with --dpo)")
    made.add_argument("--stories", metavar="N", type=whole(2), default=200, help="held-out stories (200)")
    made.add_argument("--seed", metavar="N", type=whole(0), default=0, help="the first sampling seed (0)")
    made.add_argument("--seeds", metavar="N", type=whole(1), default=3, help="sampling seeds (3)")
    made.add_argument("--steps", metavar="N", type=whole(1), help="sampling steps (the model's own)")
    made.add_argument("--guidance", metavar="X", type=finite, help="guidance (the model's own)")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    parts = args.parts or ["memory", "rollout", *(["dpo"] if args.dpo else [])]
    settings = {name: getattr(args, name) for name in ("split", "stories", "seed", "seeds", "steps", "guidance")}
    return measure(
        "measure_step2",
        [args.model, *([args.dpo] if args.dpo else [])],
        [functools.partial(PARTS[part], args) for part in parts],
        args.out,
        lambda figure: verdict(figure, STEP2_GOALS),
        settings,
    )


if __name__ == "__main__":
    sys.exit(main())
