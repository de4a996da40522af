"""`stage parity GOLDEN_DIR...`: are we the reference, number for number?"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from stage_jax.cli.arguments import refuse

DIFFERS = 1


def add_parser(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser(
        "parity",
        help="compare with the reference's numbers",
        description="Compares models and samplers with goldens: a line each; exit code 1 if one differs.",
    )
    parser.add_argument("goldens", metavar="GOLDEN_DIR", type=Path, nargs="+", help="a folder with config.json and io.npz")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, unknown: list[str]) -> int:
    refuse(unknown)
    from stage_jax.evaluation.goldens import read_golden
    from stage_jax.evaluation.parity import compare

    wide = max(len(folder.name) for folder in args.goldens)
    differ = []
    for folder in args.goldens:
        golden = read_golden(folder)
        found = compare(golden)
        start = f"{folder.name:{wide}}  {golden.kind:11}"
        verdict = "pass" if found.passed else "FAIL"
        print(f"{start}  largest {found.largest:.1e}  relative {found.relative:.1e}  {verdict}", flush=True)
        differ += [] if found.passed else [folder.name]
    if differ:
        print(f"stage: {len(differ)} of {len(args.goldens)} differ: {', '.join(differ)}", file=sys.stderr)
    return DIFFERS if differ else 0
