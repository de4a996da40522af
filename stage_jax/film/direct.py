"""The job of `stage direct`: a theme, a screenplay or a story goes in; a story.json with a whole shot table comes out."""

from __future__ import annotations

import json
from pathlib import Path

from data_pipeline.annotate.model import VisionModel
from stage_jax.errors import InputError
from stage_jax.files import write_text
from stage_jax.film.by_model import direct_by_model
from stage_jax.story.director import direct_story, direct_theme
from stage_jax.story.readers import read_story, read_text
from stage_jax.story.types import story_to_json


def direct_file(source: Path, out: Path, model: VisionModel | None = None, shots: int = 8) -> list[str]:
    """Writes `out` and returns what had to be repaired. source: a .txt file is a theme, others are what `read_story` reads.
    Without a model the rules direct. shots: about how many a model is asked for. InputError, and nothing written,
    if there is no story to be had."""
    if out.suffix.lower() != ".json":
        raise InputError(f"{out}: expected the name of a story, *.json")
    repairs: list[str] = []
    if model is not None:
        story, repairs = direct_by_model(read_text(source), model, shots)
    elif source.suffix.lower() == ".txt":
        story = direct_theme(read_text(source), str(source))
    else:
        story = direct_story(read_story(source))
    if story.pictures() and out.resolve().parent != source.resolve().parent:
        raise InputError(f"{out}: {source} names pictures beside it, expected a name in its folder")
    write_text(out, json.dumps(story_to_json(story), indent=1, ensure_ascii=False) + "\n")
    return repairs
