"""Who appears in which shot, as somebody has written it down.

    {"characters": [{"id": "anna", "name": "Anna", "description": "a woman in a red coat", "references": ["anna.png"]}],
     "shots": [{"shot": "film/SC01_SH010", "characters": ["anna"]}]}

References are pictures in the film's folder. A mask of a frame, where there is one, stands beside it, such as
SC01_SH010_start_mask.png: grey, 1 + the index of the character who is there (among those of the film's story), 0 elsewhere.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from data_pipeline.annotate.side_table import names_of
from data_pipeline.annotate.told import ToldFilm
from stage_jax.errors import InputError
from stage_jax.story.checks import check_path
from stage_jax.story.schema import Place, build, described, near
from stage_jax.story.tables import read_json
from stage_jax.story.types import Character


@dataclass(frozen=True)
class ShotRoles:
    """characters: ids, in the order in which they matter."""

    shot: str
    characters: tuple[str, ...]


@dataclass(frozen=True)
class Roles:
    """A file of roles. A film's story has the characters that its shots name, in the file's order."""

    characters: tuple[Character, ...]
    shots: tuple[ShotRoles, ...]
    file: str = ""

    def __call__(self, told: ToldFilm) -> ToldFilm:
        given = {PurePosixPath(entry.shot): entry.characters for entry in self.shots}
        shots = []
        for shot in told.shots:
            name = next((name for name in names_of(told, shot) if name in given), None)
            shots.append(shot if name is None else shot.said(self.file, True, characters=given[name]))
        seen = {who for shot in shots for who in shot.shot.characters}
        characters = [*told.characters, *(who for who in self.characters if who.id in seen)]
        for who in characters:
            for path in who.references:
                if not (told.film.folder / path).is_file():
                    raise InputError(f"{told.film.folder / path}: found nothing there, expected a picture of {who.id!r}")
        return dataclasses.replace(told, shots=tuple(shots), characters=tuple(characters))


def read_roles(path: Path) -> Roles:
    """Reads a file of roles. InputError, naming the place, for what is none, for a shot that is in it twice, and for one whose
    characters it lacks."""
    roles = build(Roles, read_json(path, "roles"), Place(str(path)))
    ids = [character.id for character in roles.characters]
    for i, character in enumerate(roles.characters):
        for j, reference in enumerate(character.references):
            check_path(reference, Place(str(path), f"characters[{i}].references[{j}]"))
    named: set[PurePosixPath] = set()
    for i, entry in enumerate(roles.shots):
        if (shot := PurePosixPath(entry.shot)) in named:
            raise Place(str(path), f"shots[{i}].shot").error(f"{described(entry.shot)} again", "an entry for each shot")
        named.add(shot)
        for j, who in enumerate(entry.characters):
            if who not in ids:
                place = Place(str(path), f"shots[{i}].characters[{j}]")
                raise place.error(described(who), f"the id of a character: {near(who, ids)}")
    return dataclasses.replace(roles, file=str(path))
