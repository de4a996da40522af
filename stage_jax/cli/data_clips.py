"""The flags of `stage data records` and `stage data beam records` that ask for clips of ingested films."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stage_jax.cli.arguments import whole
from stage_jax.errors import InputError

if TYPE_CHECKING:
    from data_pipeline.clips import ClipForm
    from data_pipeline.film_folder import Films

FPS = 16  # of Wan's clips
MOST_FRAMES = 1025


def add_clips(parser: argparse.ArgumentParser) -> None:
    clips = parser.add_argument_group("clips, of film_folder")
    clips.add_argument("--clips", metavar="N", type=_frames, help="frames of a clip of each shot, 4 k + 1 (Wan's have 81)")
    clips.add_argument("--fps", metavar="F", type=whole(1, 240), default=FPS, help=f"of them a second ({FPS})")
    clips.add_argument("--films", metavar="DIR", type=Path, help="the films that were ingested, somewhere in it")


def _frames(text: str) -> int:
    frames = whole(5, MOST_FRAMES)(text)
    if frames % 4 != 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected 4 k + 1 frames, such as 17 or 81")
    return frames


def form_of(args: argparse.Namespace) -> ClipForm | None:
    """The form that the flags ask for. InputError if one of --clips and --films is missing."""
    if (args.clips is None) != (args.films is None):
        raise InputError("found one of --clips and --films, expected both: clips are decoded again from the films")
    if args.clips is None:
        return None
    from data_pipeline.clips import ClipForm

    return ClipForm(args.clips, args.fps, args.films)


def refuse_clips(args: argparse.Namespace) -> None:
    if form_of(args):
        raise InputError(f"--clips: found {args.kind}, which holds no films, expected film_folder")


def about(args: argparse.Namespace, films: Films) -> dict[str, Any]:
    """What the records say of how they were made."""
    clips = {"fps": args.fps, "too_short_for_a_clip": len(films.short)} if args.clips else {}
    return {"made_by": "film_folder", **clips}


def left_out(films: Films) -> str:
    """The line that tells of shots too short."""
    from stage_jax.story.tables import listed_once

    return f"too short for a clip, left out: {len(films.short):,} shots ({listed_once(films.short)})"
