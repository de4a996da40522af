"""`stage train --config configs/X.py --workdir DIR`: train, or go on training."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_parser(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser(
        "train",
        help="train a model, or go on training it",
        description="Trains what a config says. --config.NAME=VALUE changes a value of it, nested ones with dots.",
    )
    parser.add_argument("--config", metavar="FILE[:ARG]", required=True, help="Python file with get_config")
    parser.add_argument("--workdir", metavar="DIR", type=Path, required=True, help="checkpoints, metrics, the model")
    parser.add_argument(
        "--distributed", action="store_true", help="join the other processes of a TPU pod, Slurm, Open MPI or Kubernetes"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, unknown: list[str]) -> None:
    from stage_jax.cli.config_file import load_config

    config = load_config(args.config, unknown)
    from stage_jax.parallel import distributed
    from stage_jax.training.train import train

    distributed.start(detect=args.distributed)
    train(config, args.workdir)
