"""`stage sweep --config configs/X.py --sweep configs/sweeps/Y.py --workdir DIR`: a config many times, with changes."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path


def add_parser(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser(
        "sweep",
        help="train a config many times, with changes",
        description="Runs what a sweep lists, one after another, each in a folder of its own below DIR; what is finished is "
        "skipped, what was stopped goes on. Then, or with --list, a table of results, also as DIR/sweep.html. "
        "--config.NAME=VALUE changes all runs.",
    )
    parser.add_argument("--config", metavar="FILE[:ARG]", required=True, help="Python file with get_config")
    parser.add_argument("--sweep", metavar="FILE", type=Path, required=True, help="Python file with get_sweep: list of changes")
    parser.add_argument("--workdir", metavar="DIR", type=Path, required=True, help="a folder below it for each run")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--list", action="store_true", help="only the table, as far as the runs are")
    how.add_argument(
        "--commands", action="store_true", help="only a command a line for each run that is not finished: Slurm, xpk"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, unknown: list[str]) -> int:
    from stage_jax import files
    from stage_jax.cli.config_file import load_config, run_file
    from stage_jax.errors import InputError
    from stage_jax.film.sweep_page import sweep_page, sweep_text
    from stage_jax.training.config import check_config
    from stage_jax.training.sweep import flags, progress, run_names
    from stage_jax.training.train import train

    named = run_names(run_file(args.sweep, "get_sweep"), str(args.sweep))
    configs = {name: load_config(args.config, [*unknown, *flags(changes)]) for name, changes in named.items()}
    for name, config in configs.items():
        check_config(config, args.workdir / name)
    left = [name for name in named if not progress(args.workdir / name).finished]
    if args.commands:
        for name in left:
            words = ["stage", "train", "--config", args.config, "--workdir", str(args.workdir / name)]
            print(shlex.join([*words, *unknown, *flags(named[name])]))
        return 0
    failed = []
    for number, name in enumerate([] if args.list else left, 1):
        print(f"{name}: run {number} of {len(left)}")
        try:
            train(configs[name], args.workdir / name)
        except InputError as error:  # the others may do
            failed.append(name)
            print(f"stage: {name}: {error}", file=sys.stderr)
        else:
            if not progress(args.workdir / name).finished:
                break  # it was asked to stop
    rows = {name: (progress(args.workdir / name), config.steps) for name, config in configs.items()}
    print(sweep_text(rows))
    if args.workdir.is_dir():
        files.write_text(args.workdir / "sweep.html", sweep_page(args.sweep.stem, rows))
    return 2 if failed else 0
