"""The shots of a film as stories that models learn from."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from data_pipeline.ingest.analyse import FoundShot
from data_pipeline.ingest.quality import common_colours
from data_pipeline.ingest.shots import NAME, FilmShots, ShotRecord
from stage_jax.story.checks import MOST_SECONDS
from stage_jax.story.types import Scene, Shot, Story

MOST = 12  # shots of a story, kept ones
BACK = 3  # shots, of which one has to look like the next
ALIKE = 0.2  # part of their colours that two shots of a story share


class Stories:
    """Neighbouring shots, film order: a story goes on while a shot has colours of the last few, until a fade or 12 shots."""

    def __init__(self) -> None:
        self.story, self._place, self._kept = 1, 0, 0
        self._looks: deque = deque(maxlen=BACK)
        self._faded = False  # since the last kept shot: what a fade leads to may be a title that is not kept

    def name(self, shot: FoundShot, kept: bool) -> str:
        """The name of the next shot of the film, SC02_SH010; `story` is then the number of its story."""
        look = shot.measures.colours / max(shot.measures.samples, 1)
        self._faded = self._faded or shot.transition == "fade"
        if kept and self._looks:
            strange = max(common_colours(look, other) for other in self._looks) < ALIKE
            if strange or self._faded or self._kept == MOST:
                self.story, self._place, self._kept = self.story + 1, 0, 0
                self._looks.clear()
        self._place += 1
        if kept:
            self._faded = False
            self._kept += 1
            self._looks.append(look)
        return f"SC{self.story:02d}_SH{10 * self._place:03d}"


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
