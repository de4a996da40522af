"""Referential captions, OneStory's second pass (arXiv 2512.07802): "the same man, now in a white shirt".

Each caption is written anew by a model that sees frames of the shot before and its caption, as it was before this pass. The
first shot of a story stays as it is. Which frames, and the words of the request, are our choice.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from data_pipeline.annotate.answers import read_answer, schema
from data_pipeline.annotate.asking import Asker, NoAnswerError
from data_pipeline.annotate.captioner import at_once, shown
from data_pipeline.annotate.model import Question
from data_pipeline.annotate.told import Told, ToldFilm

WORDS = """Two shots follow one another in a film. The first two pictures are the first and the last frame of the earlier \
shot, the other two those of the later one. Caption of the earlier shot: {before}
Caption of the later shot: {after}
Write the later caption anew so that it refers to the earlier shot. Who or what is seen again is "the same ...", with what has \
changed in clothes, pose, place or light; say it if the place changes or something appears for the first time. Change nothing \
else. Answer with a JSON object with the key "caption", in English, without markup."""


@dataclass(frozen=True)
class Referential:
    """Rewrites the caption of every shot that goes on in a story. A shot whose caption is missing, or that of the one before,
    keeps what it has."""

    asker: Asker
    workers: int = 1

    def __call__(self, told: ToldFilm) -> ToldFilm:
        pairs = list(zip([None, *told.shots], told.shots, strict=False))
        return told.with_shots(at_once(functools.partial(self._rewritten, told), pairs, self.workers))

    def _rewritten(self, film: ToldFilm, pair: tuple[Told | None, Told]) -> Told:
        before, told = pair
        if before is None or before.record.story != told.record.story:
            return told
        if not before.shot.description or not told.shot.description:
            return told.problem("not made referential: a caption is missing")
        files = [film.film.pictures(shot.record)[i] for shot in pair for i in (0, -1)]
        text = WORDS.format(before=before.shot.description, after=told.shot.description)
        try:
            answer = self.asker.ask(Question(text, shown(files), schema(())), functools.partial(read_answer, attributes=()))
        except NoAnswerError as error:
            return told.problem(f"not made referential: {error}")
        by = f"{told.by['description']}, rewritten by {self.asker.model.name}"
        return told.said(by, True, description=answer["caption"])
