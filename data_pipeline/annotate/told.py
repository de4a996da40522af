"""What is said of a film's shots so far, and by whom: what every part of the annotation takes and gives back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from data_pipeline.ingest.shots import FilmShots, ShotRecord
from data_pipeline.ingest.stories import told_shot
from stage_jax.story.types import Character, Shot


@dataclass(frozen=True)
class Told:
    """One kept shot. by: who said each field of `shot`. scores: numbers that models give it, by their names. problems: what
    went wrong, for people. dropped: why the shot is left out of the story, "" if it is not."""

    record: ShotRecord
    shot: Shot
    by: Mapping[str, str] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    dropped: str = ""

    def said(self, by: str, over: bool = False, **fields: Any) -> Told:
        """With the fields of the shot that are not empty here; they fill what is empty, and go over what is not if `over`."""
        new = {name: value for name, value in fields.items() if value and (over or not getattr(self.shot, name))}
        shot = dataclasses.replace(self.shot, **new)
        return dataclasses.replace(self, shot=shot, by={**self.by, **dict.fromkeys(new, by)})

    def scored(self, name: str, score: float) -> Told:
        return dataclasses.replace(self, scores={**self.scores, name: score})

    def problem(self, what: str) -> Told:
        return dataclasses.replace(self, problems=(*self.problems, what))


@dataclass(frozen=True)
class ToldFilm:
    """The kept shots of a film in their order, and who appears in it. alone: whether no other film is annotated with it; files
    may then speak of a shot without naming the film."""

    film: FilmShots
    shots: tuple[Told, ...]
    characters: tuple[Character, ...] = ()
    alone: bool = True

    def with_shots(self, shots: Sequence[Told]) -> ToldFilm:
        return dataclasses.replace(self, shots=tuple(shots))


@runtime_checkable
class Annotator(Protocol):
    """A part of the annotation. What people say goes over what was measured; what models say fills what is left empty."""

    def __call__(self, told: ToldFilm) -> ToldFilm:
        """The film with what this part knows. What it cannot say of a shot is a problem of that shot, not an error. InputError
        for what the part was given."""
        ...


def untold(film: FilmShots, alone: bool = True) -> ToldFilm:
    """A film of which only that is known which ingest has measured."""
    shots = []
    for record in film.kept:
        shot = told_shot(record)
        shots.append(Told(record, shot, {"movement": "ingest"} if shot.movement else {}))
    return ToldFilm(film, tuple(shots), alone=alone)
