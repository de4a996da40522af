"""Asking a model until its answer can be taken, and never twice for the same."""

from __future__ import annotations

import dataclasses
import json
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from data_pipeline.annotate.answers import LONGEST_ANSWER, AnswerError
from data_pipeline.annotate.model import ModelError, Question, VisionModel
from stage_jax.files import write_text

T = TypeVar("T")
FIRST_WAIT, MOST_WAIT = 1.0, 60.0  # seconds before the second try, doubled before each one after it; our choice
GIVE_UP = 8  # questions in a row without an answer after which a model is asked no more; our choice


class NoAnswerError(Exception):
    """A question that stays open, and why; what that quotes of an answer is no markup in whatever page it is shown."""

    def __init__(self, why: str) -> None:
        super().__init__(why.translate(str.maketrans("<>", "()")))


class Asker:
    """Asks `model`, up to `attempts` times a question, and keeps what could be taken in the folder `kept`, by content hash.

    A run that was killed asks only what it had not asked. A model that does not answer `GIVE_UP` questions in a row is asked no
    more, so that a run ends however many shots there are. May be called from several threads. sleep: takes seconds.
    """

    def __init__(self, model: VisionModel, kept: Path, attempts: int = 5, sleep: Callable[[float], None] = time.sleep) -> None:
        self.model, self.kept, self.attempts, self.sleep = model, kept, attempts, sleep
        self._lock, self._failed, self._why = threading.Lock(), 0, ""

    def ask(self, question: Question, read: Callable[[str], T]) -> T:
        """What `read` makes of the answer; `read` raises AnswerError on one that is to be asked for again. NoAnswerError if
        there is none in the end."""
        path = self._path(question)
        known = _kept(path, read)
        if known is not None:
            return known
        with self._lock:
            if self._failed >= GIVE_UP:
                raise NoAnswerError(f"not asked: no answer to the {GIVE_UP} questions before ({self._why})")
        try:
            text, value = self._tried(question, read)
        except NoAnswerError as error:
            with self._lock:
                self._failed, self._why = self._failed + 1, str(error)
            raise
        with self._lock:
            self._failed = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps({"model": self.model.name, "answer": text}, ensure_ascii=False) + "\n")
        return value

    def _tried(self, question: Question, read: Callable[[str], T]) -> tuple[str, T]:
        asked, why = question, ""
        for attempt in range(self.attempts):
            wait = 0.0
            try:
                text = self.model.answer(asked)
                return text, read(text)
            except AnswerError as error:
                why = f"an answer that cannot be taken: {error}"
                told = f"{question.words}\n\nYour last answer could not be used: {error}."
                asked = dataclasses.replace(question, words=told)
            except ModelError as error:
                why, wait = str(error), error.wait
                if not error.retry:
                    raise NoAnswerError(why) from None
            if attempt + 1 < self.attempts:
                drawn = min(FIRST_WAIT * 2**attempt, MOST_WAIT) * random.uniform(0.5, 1.0)  # so that threads do not meet
                self.sleep(max(wait, drawn))
        raise NoAnswerError(f"{why} ({self.attempts} tries)")

    def _path(self, question: Question) -> Path:
        digest = question.digest(self.model.name)
        return self.kept / digest[:2] / f"{digest}.json"


def _kept(path: Path, read: Callable[[str], T]) -> T | None:
    """The answer in a file, None if it is not there. One that is damaged, or was taken by earlier rules, is asked for anew."""
    try:
        with open(path, encoding="utf-8") as file:
            return read(json.loads(file.read(8 * LONGEST_ANSWER))["answer"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError, AnswerError):
        return None
