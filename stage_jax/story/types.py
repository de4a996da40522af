"""A story as a person writes it: characters, locations, scenes of shots."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from stage_jax.story.checks import check_story
from stage_jax.story.schema import Place, build


@dataclass(frozen=True)
class Character:
    """Somebody who appears. `references` are pictures of them, relative to the story's folder. `extra`, here and below: see
    story/extra.py."""

    id: str
    name: str
    description: str = ""
    tag: str = ""
    references: tuple[str, ...] = ()
    extra: str = ""


@dataclass(frozen=True)
class Location:
    id: str
    name: str
    description: str = ""


@dataclass(frozen=True)
class Frame:
    """The start or the end of a shot: words for it, or a given picture, relative to the story's folder."""

    prompt: str = ""
    image: str = ""


@dataclass(frozen=True)
class Shot:
    """One uninterrupted take.

    `cut` is False where the shot goes on from the one before it, on whose end frame it starts. `characters` are ids. `locked`
    keeps what was drawn.
    """

    id: str
    description: str
    cut: bool = True
    size: str = ""
    angle: str = ""
    movement: str = ""
    characters: tuple[str, ...] = ()
    seconds: float = 2.0
    start: Frame = Frame()
    end: Frame = Frame()
    video_prompt: str = ""
    transition: str = ""
    dialogue: str = ""
    notes: str = ""
    seed: int | None = None
    locked: bool = False
    extra: str = ""


@dataclass(frozen=True)
class Scene:
    """Shots at one place. `location` is an id, or empty."""

    id: str
    heading: str = ""
    location: str = ""
    shots: tuple[Shot, ...] = ()
    extra: str = ""


@dataclass(frozen=True)
class Story:
    """`fps` in frames a second, `aspect` as "width:height"."""

    title: str
    overview: str = ""
    fps: float = 8.0
    aspect: str = "1:1"
    characters: tuple[Character, ...] = ()
    locations: tuple[Location, ...] = ()
    scenes: tuple[Scene, ...] = ()
    extra: str = ""

    def shots(self) -> Iterator[tuple[Scene, Shot]]:
        """All shots in story order, each with its scene."""
        for scene in self.scenes:
            for shot in scene.shots:
                yield scene, shot

    def pictures(self) -> list[str]:
        """All pictures that the story names, relative to its folder."""
        references = [reference for character in self.characters for reference in character.references]
        return references + [frame.image for _, shot in self.shots() for frame in (shot.start, shot.end) if frame.image]

    def shot_name(self, scene: Scene, shot: Shot) -> str:
        """What the shot's files are called, such as SC01_SH010."""
        return f"{scene.id}_{shot.id}"


def story_to_json(story: Story) -> dict[str, Any]:
    """The story as JSON values, every field written out but an `extra` with nothing in it; `story_from_json` gives the same
    story back."""
    return _plain(asdict(story))


def story_from_json(value: Any, where: str, captions: bool = True) -> Story:
    """A story from the value of a story.json called `where`; raises InputError, naming the place, if it is none.

    captions: whether shots without a description are refused."""
    story = build(Story, value, Place(where))
    check_story(story, where, captions)
    return story


def _plain(value: Any) -> Any:
    """Tuples as lists, which is what json reads back; no empty `extra`."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if (key, item) != ("extra", "")}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value
