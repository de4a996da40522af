"""The director and the refiner by a model: the question, and the check that its answer has to pass."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any, TypeVar

from data_pipeline.annotate.model import ModelError, Question, VisionModel
from stage_jax.errors import InputError
from stage_jax.film.png import png_bytes
from stage_jax.story.board import BoardShot
from stage_jax.story.schema import described, shortened
from stage_jax.story.table import SCHEMA, story_of
from stage_jax.story.types import Story

T = TypeVar("T")
TRIES = 3
LONGEST_PROMPT = 2000  # characters
DIRECT = """You are a film director. Turn the text at the end into a table of about {shots} shots, grouped into scenes, as one
JSON object of this schema: {schema}
Describe every character and location once, by what a camera sees. In each shot's description say in one to three plain
sentences who does what and where, so that it can be understood without the other shots. `start` and `end` say what the first
and the last frame of the shot show; they differ by what happens in it. `characters` and `location` are names from the lists.
Lines that are spoken in the shot go into `dialogue`. The text:

{text}"""
REFINE = """The two pictures are the first and the last frame of one film shot. Write the prompt for a video model that fills in
what lies between: who moves how, what the camera does, what changes in the light, true to the pictures and to the description,
in one paragraph of at most 120 words. Answer with one JSON object that has the key "prompt".
Description: {caption}
Camera: {camera}"""
PROMPT = {
    "type": "object", "properties": {"prompt": {"type": "string"}}, "required": ["prompt"], "additionalProperties": False,
}  # fmt: skip


def direct_by_model(text: str, model: VisionModel, shots: int = 8) -> tuple[Story, list[str]]:
    """The story that a model makes of a theme or screenplay, and what had to be repaired in it. shots: about how many it is
    asked for. InputError if it gives none that can be used."""
    words = DIRECT.format(shots=shots, schema=json.dumps(SCHEMA), text=text)
    return _asked(model, Question(words, (), SCHEMA), lambda value: story_of(value, "the shot table"))


def refine_by_model(shot: BoardShot, model: VisionModel) -> str:
    """The clip's prompt that a model writes, seeing both frames. InputError if it gives none that can be used."""
    words = REFINE.format(caption=shot.caption, camera=shot.shot.movement or "as seen")
    pictures = (png_bytes(shot.pair.start), png_bytes(shot.pair.end))
    return _asked(model, Question(words, pictures, PROMPT), _prompt)


def _asked(model: VisionModel, question: Question, check: Callable[[Any], T]) -> T:
    """What `check` makes of the JSON in an answer. What it has against one is told to the model, which tries again."""
    asked, why = question, ""
    for _ in range(TRIES):
        try:
            return check(_object(model.answer(asked)))
        except InputError as error:
            why = str(error)
            again = f"{question.words}\n\nYour last answer could not be used: {why}. Send the whole JSON object, corrected."
            asked = dataclasses.replace(question, words=again)
        except ModelError as error:
            why = str(error)
            if not error.retry:
                break
    raise InputError(f"{model.name}: {why}, expected an answer that can be used")


def _object(text: str) -> Any:
    """The JSON object in an answer, whatever stands around it (a code fence, a greeting)."""
    try:
        return json.loads(text[text.index("{") : text.rindex("}") + 1])
    except (ValueError, RecursionError):
        raise InputError(f"found {shortened(text)!r}, expected a JSON object") from None


def _prompt(value: Any) -> str:
    prompt = value.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip() or len(prompt) > LONGEST_PROMPT:
        raise InputError(f"prompt: found {described(prompt)}, expected 1 to {LONGEST_PROMPT:,} characters")
    return " ".join(prompt.split())
