"""The shots of a film as a story that models learn from."""

from __future__ import annotations

from collections.abc import Mapping

from data_pipeline.ingest.shots import NAME, FilmShots, ShotRecord
from stage_jax.story.checks import MOST_SECONDS
from stage_jax.story.types import Scene, Shot, Story


def told_shot(record: ShotRecord) -> Shot:
    """What is measured of a shot, as a story says it; nobody has described it yet."""
    return Shot(
        NAME.fullmatch(record.name).group(2),
        description="",
        movement=record.camera.words if record.camera else "",
        seconds=min(max(record.seconds, 0.001), MOST_SECONDS),
        transition=record.transition,
    )


def film_story(film: FilmShots, told: Mapping[str, Shot]) -> Story:
    """The kept shots of a film: each of its stories is a scene.

    told: shots by their names (SC01_SH010), where somebody has said more than `told_shot`.
    """
    scenes: dict[str, list[Shot]] = {}
    for record in film.kept:
        scenes.setdefault(NAME.fullmatch(record.name).group(1), []).append(told.get(record.name, told_shot(record)))
    return Story(title=film.shots[0].film, scenes=tuple(Scene(name, shots=tuple(shots)) for name, shots in scenes.items()))
