"""`stage direct STORY --out FILE`: a theme or a screenplay becomes a shot table to look at and change."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from stage_jax.cli.arguments import refuse, whole
from stage_jax.errors import InputError

if TYPE_CHECKING:
    from stage_jax.story.endpoint import Endpoint

KEY = "OPENAI_API_KEY"  # the environment variable that clients of such endpoints read


def add_parser(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser(
        "direct", help="a shot table from a theme or a screenplay", description="Writes a story.json with a shot table."
    )
    parser.add_argument("story", metavar="STORY", type=Path, help="a theme (.txt), a screenplay (.fountain) or a story.json")
    parser.add_argument("--out", metavar="FILE", type=Path, required=True, help="the story.json to write")
    parser.add_argument("--endpoint", metavar="URL", help="a language model's, as http://localhost:8000/v1 (default: rules)")
    parser.add_argument("--llm", metavar="NAME", default="", help="the model's name there")
    parser.add_argument("--shots", metavar="N", type=whole(1, 1000), default=8, help="about how many to ask for (default: 8)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, unknown: list[str]) -> None:
    refuse(unknown)
    if args.llm and not args.endpoint:
        raise InputError("--llm: found without an endpoint, expected with --endpoint URL")
    from stage_jax.story.direct import direct_file

    model = endpoint(args.endpoint, args.llm) if args.endpoint else None
    for repair in direct_file(args.story, args.out, model, args.shots):
        print(f"repaired: {repair}", file=sys.stderr)


def endpoint(url: str, llm: str) -> Endpoint:
    """The endpoint that the flags name, with the key of the environment, if there is one."""
    from stage_jax.story.endpoint import Endpoint

    return Endpoint(url, llm, os.environ.get(KEY, ""))
