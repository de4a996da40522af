"""The manifest of a board folder: what was made from what, with hashes, so that it can be made again and checked.

A shot's hash is over everything that its pictures depend on and over nothing else: its text, the memory pack (pixels,
not names of files), seed, lock, given pictures, weights and settings. Editing a note or moving a folder leaves it as it
was.
"""

from __future__ import annotations

import importlib.metadata
import json
from typing import Any

from stage_jax.film.timecode import shot_frames
from stage_jax.story.board import Board, BoardShot, MemoryEntry
from stage_jax.story.hashes import canonical_json, content_hash, pixel_hash
from stage_jax.story.types import story_to_json

SCHEMA = 1
# The packages that decide about bytes: numbers of the models, PNG and mp4 encoders.
SOFTWARE = ("jax", "flax", "numpy", "pillow", "av")


def manifest(
    board: Board, *, model_hashes: dict[str, str], settings: dict[str, Any], files: dict[str, str]
) -> dict[str, Any]:
    """The manifest as plain JSON values with sorted keys: no times, no absolute paths.

    `model_hashes`: part of the model -> sha256 of its weights. `settings`: what else decides about the pictures (steps,
    guidance, seed of the film), without paths. `files`: path inside the board folder -> sha256 of the file.
    """
    shared = {"weights": content_hash(model_hashes), "settings": content_hash(settings)}
    pictures = {key: pixel_hash(picture) for key, picture in board.pictures().items()}
    made = {
        "schema": SCHEMA,
        "story": {
            "title": board.story.title,
            "hash": content_hash(story_to_json(board.story)),
            "fps": board.fps,
            "frames": sum(shot_frames(shot, board.fps) for shot in board.shots),
        },
        "models": model_hashes,
        "settings": settings,
        "software": {name: importlib.metadata.version(name) for name in SOFTWARE},
        "shots": [_shot(shot, pictures, shared) for shot in board.shots],
        "files": files,
    }
    return json.loads(canonical_json(made))


def _shot(shot: BoardShot, pictures: dict[tuple[str, str | int], str], shared: dict[str, str]) -> dict[str, Any]:
    """One shot: `inputs` (what its hash is over), what the memory saw and why, and what was made by what."""
    start, end = pictures[shot.name, "start"], pictures[shot.name, "end"]
    given = {"start": start, "end": end} if shot.source in ("given", "kept") else None
    if shot.given and given is None:
        given = {which: pictures[shot.name, which] for which in shot.given}
    inputs = {
        "text": {
            "caption": shot.caption,
            "start_prompt": shot.shot.start.prompt,
            "end_prompt": shot.shot.end.prompt,
            "video_prompt": shot.shot.video_prompt,
            "seconds": shot.shot.seconds,
        },
        "pack": [
            {**_named(entry), "rank": entry.rank, "area": entry.area, "pixels": pictures.get(entry.key)}
            for entry in shot.memory
        ],
        "seed": shot.seed,
        "locked": shot.shot.locked,
        "given": given,
        **shared,
    }
    clip = None
    if shot.clip is not None:
        pixels = pixel_hash(shot.clip.read())
        clip = {"by": "filler", "hash": shot.clip_key, "frames": shot.clip.frames, "pixels": pixels}
    return {
        "name": shot.name,
        "hash": content_hash(inputs),
        "inputs": inputs,
        "why": [entry.why for entry in shot.memory],
        "pair": {"by": shot.source, "hash": shot.key, "memory": shot.pack_key, "start": start, "end": end, "given": shot.given},
        "take": shot.take,
        "candidates": [{"number": other.number, "seed": other.seed} for other in shot.candidates],
        "clip": clip,
    }


def _named(entry: MemoryEntry) -> dict[str, Any]:
    """Which picture it is: a shot's frame, or which reference of which character."""
    if entry.which == "reference":
        return {"reference": entry.character, "number": entry.number}
    return {"shot": entry.shot, "which": entry.which}
