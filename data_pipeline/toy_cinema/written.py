"""Toy stories as users write stories: scenes with headings, shots with names."""

from __future__ import annotations

import dataclasses

from data_pipeline.toy_cinema import captions as easy
from data_pipeline.toy_cinema.full import captions as full
from data_pipeline.toy_cinema.full.world import FullStory
from data_pipeline.toy_cinema.world import FPS, FRAMES, ToyStory
from stage_jax.story import types


def to_story(toy: ToyStory | FullStory) -> types.Story:
    """A toy story of either level; names become ids, and a new scene starts whenever the place changes."""
    if isinstance(toy, FullStory):
        title, movements = f"Toy story full {toy.split} {toy.seed}", [shot.camera for shot in toy.shots]
        captions = [full.prose(caption) for caption in full.story_captions(toy)]
        places = [(place.name, full.place_words(place)) for place in toy.places]
    else:
        title, movements = f"Toy story {toy.split} {toy.seed}", [types.Shot.movement] * len(toy.shots)
        captions = [easy.prose(caption) for caption in easy.story_captions(toy)]
        places = [(place.name, easy.place_words(place.kind)) for place in toy.places]
    locations = tuple(types.Location(name.replace(" ", "_"), name.title(), words) for name, words in places)
    scenes: list[types.Scene] = []
    previous = None
    for shot, caption, movement in zip(toy.shots, captions, movements, strict=True):
        if shot.place != previous:
            location = locations[shot.place]
            heading = f"EXT. {location.name.upper()}"
            scenes.append(types.Scene(id=f"SC{len(scenes) + 1:02d}", heading=heading, location=location.id))
            previous = shot.place
        written = types.Shot(
            id=f"SH{10 * (len(scenes[-1].shots) + 1):03d}",
            description=caption,
            size=shot.size,
            movement=movement,
            characters=tuple(toy.characters[i].name for i in shot.characters),
            seconds=(FRAMES - 1) / FPS,
        )
        scenes[-1] = dataclasses.replace(scenes[-1], shots=(*scenes[-1].shots, written))
    characters = tuple(types.Character(c.name, c.name.capitalize(), easy.character_words(c)) for c in toy.characters)
    return types.Story(title=title, fps=FPS, characters=characters, locations=locations, scenes=tuple(scenes))
