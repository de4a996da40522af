"""Toy stories as users write stories: scenes with headings, shots with names."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from stage_jax.story import types


def written_story(
    title: str,
    characters: Sequence[tuple[str, str]],
    places: Sequence[tuple[str, str]],
    shots: Iterable[tuple[int, types.Shot]],
    fps: float,
) -> types.Story:
    """characters, places: (name, description); names become ids. shots: (index of its place, the shot, whose id is set here).

    A new scene starts whenever the place changes.
    """
    locations = tuple(
        types.Location(id=name.replace(" ", "_"), name=name.title(), description=words) for name, words in places
    )
    scenes: list[types.Scene] = []
    previous = None
    for place, shot in shots:
        if place != previous:
            location = locations[place]
            heading = f"EXT. {location.name.upper()}"
            scenes.append(types.Scene(id=f"SC{len(scenes) + 1:02d}", heading=heading, location=location.id))
            previous = place
        named = dataclasses.replace(shot, id=f"SH{10 * (len(scenes[-1].shots) + 1):03d}")
        scenes[-1] = dataclasses.replace(scenes[-1], shots=(*scenes[-1].shots, named))
    return types.Story(
        title=title,
        fps=fps,
        characters=tuple(types.Character(id=name, name=name.capitalize(), description=words) for name, words in characters),
        locations=locations,
        scenes=tuple(scenes),
    )
