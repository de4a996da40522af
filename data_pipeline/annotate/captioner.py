"""Captions and camera attributes from a model that sees a shot's frames."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from PIL import Image

from data_pipeline.annotate.answers import UNKNOWN, read_answer, schema
from data_pipeline.annotate.asking import Asker, NoAnswerError
from data_pipeline.annotate.model import Question
from data_pipeline.annotate.told import Told, ToldFilm
from stage_jax.story.pairs import read_picture
from stage_jax.story.vocabulary import VOCABULARY

SIDE = 768  # pixels of the longer side that a model is shown; our choice, more is tiled or shrunk by most
WORDS = """These are {count} frames of one shot of a film, in the order of time.
Answer with a JSON object. "caption": one or two sentences in English on who and what the shot shows, where it is, and what \
happens from the first frame to the last; only what can be seen, no guesses, no names, no markup.{attributes}"""
ATTRIBUTE = """
"{name}": the camera's {name}, one of {words}; "{unknown}" if it cannot be told."""
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Captioner:
    """Asks for the caption of every shot that has none, and for what it lacks of size, angle and movement. workers: questions
    that are asked at once."""

    asker: Asker
    workers: int = 1

    def __call__(self, told: ToldFilm) -> ToldFilm:
        return told.with_shots(at_once(functools.partial(self._told, told), told.shots, self.workers))

    def _told(self, film: ToldFilm, told: Told) -> Told:
        attributes = [name for name in VOCABULARY if not getattr(told.shot, name)]
        if told.shot.description and not attributes:
            return told
        pictures = film.film.pictures(told.record)
        question = Question(words(len(pictures), attributes), shown(pictures), schema(attributes))
        try:
            answer = self.asker.ask(question, functools.partial(read_answer, attributes=attributes))
        except NoAnswerError as error:
            return told.problem(f"no caption: {error}")
        answer["description"] = answer.pop("caption")
        return told.said(self.asker.model.name, **answer)


def words(count: int, attributes: Sequence[str]) -> str:
    """What is asked about `count` frames of a shot."""
    listed = [ATTRIBUTE.format(name=name, words=", ".join(VOCABULARY[name]), unknown=UNKNOWN) for name in attributes]
    return WORDS.format(count=count, attributes="".join(listed))


def shown(files: Iterable[Path]) -> tuple[bytes, ...]:
    """Pictures as models are shown them: JPEG, the longer side `SIDE` at most. InputError for one that cannot be read."""
    return tuple(_jpeg(file) for file in files)


def at_once(work: Callable[[Item], Result], items: Sequence[Item], workers: int) -> list[Result]:
    """`work` of every item, in their order, `workers` of them at a time."""
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(work, items))


def _jpeg(file: Path) -> bytes:
    image = Image.fromarray(read_picture(file))
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    image.save(data, "JPEG", quality=90)
    return data.getvalue()
