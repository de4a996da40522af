"""Many films, each into a folder of its own that is written whole: a run that was killed goes on with the film it was at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_pipeline.ingest.film import Progress, ingest_film
from data_pipeline.ingest.shots import FilmShots
from stage_jax.errors import InputError


@dataclass(frozen=True)
class Failed:
    """A film that was passed over, and the line that says why."""

    film: Path
    reason: str


def ingest_films(
    films: Sequence[Path],
    out: Path,
    progress: Progress | None = None,
    told: Callable[[FilmShots | Failed], None] | None = None,
    transnet: Path | None = None,
) -> list[FilmShots | Failed]:
    """`ingest_film` of each film to `out` if it is one, else to `out`/NAME, its name without the ending. A film that is none is
    passed over. told: called with each result as it comes. InputError if two films have one name."""
    if len(films) == 1:
        return [ingest_film(films[0], out, progress, transnet)]
    folders = [out / film.stem for film in films]
    for i, folder in enumerate(folders):
        # Some file systems take a and A for one.
        if (earlier := [str(other.name).lower() for other in folders[:i]]).count(folder.name.lower()):
            other = films[earlier.index(folder.name.lower())]
            raise InputError(f"{films[i]}: has the name of {other} but for its ending, expected films of different names")
    results: list[FilmShots | Failed] = []
    for film, folder in zip(films, folders, strict=True):
        try:
            results.append(ingest_film(film, folder, progress, transnet))
        except InputError as error:
            results.append(Failed(film, str(error)))
        if told:
            told(results[-1])
    return results
