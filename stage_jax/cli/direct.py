"""`stage direct STORY --out FILE`: a theme or a screenplay becomes a shot table to look at and change."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from stage_jax.cli.arguments import refuse, whole
from stage_jax.errors import InputError

SECONDS, TOKENS = 600.0, 16_384  # that an answer may take: a table of a hundred shots


def add_parser(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser(
        "direct", help="a shot table from a theme or a screenplay", description="Writes a story.json with a shot table."
    )
    parser.add_argument("story", metavar="STORY", type=Path, help="a theme (.txt), a screenplay (.fountain) or a story.json")
    parser.add_argument("--out", metavar="FILE", type=Path, required=True, help="the story.json to write")
    parser.add_argument("--shots", metavar="N", type=whole(1, 1000), default=8, help="about how many to ask for (default: 8)")
    add_endpoint(parser, "--endpoint", "a language model's URL, such as http://localhost:8000/v1 (default: rules)", "--model")
    parser.set_defaults(run=run)


def add_endpoint(parser: argparse.ArgumentParser, url: str, says: str, model: str) -> None:
    """The flags that name an endpoint, its model and its key."""
    parser.add_argument(url, metavar="URL", default="", help=says)
    parser.add_argument(model, metavar="NAME", default="", help="what the endpoint calls the model")
    parser.add_argument("--key-env", metavar="VARIABLE", default="", help="environment variable with the endpoint's key")


def run(args: argparse.Namespace, unknown: list[str]) -> None:
    refuse(unknown)
    model = endpoint(args.endpoint, args.model, args.key_env, "--model") if args.endpoint else None
    if (args.model or args.key_env) and model is None:
        raise InputError("--model, --key-env: found without an endpoint, expected with --endpoint URL")
    from stage_jax.film.direct import direct_file

    for repair in direct_file(args.story, args.out, model, args.shots):
        print(f"repaired: {repair}", file=sys.stderr)


def endpoint(url: str, name: str, key_env: str, flag: str) -> Any:
    """The model that the flags name. flag: the one for its name."""
    from data_pipeline.annotate.endpoint import Endpoint, read_key

    if not name:
        raise InputError(f"{flag}: found none, expected what {url} calls the model")
    return Endpoint(url, name, read_key(key_env) if key_env else "", SECONDS, TOKENS)
