"""Stories from Fountain screenplays: headings become scenes, paragraphs of action shots, names characters."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from stage_jax.errors import InputError
from stage_jax.story.checks import ASPECT, LEAST_FPS, MOST_FPS, MOST_SHOTS
from stage_jax.story.fountain_elements import HEADING, Element, elements
from stage_jax.story.names import displayed, identity, introductions, mentioned
from stage_jax.story.schema import described
from stage_jax.story.types import Character, Location, Scene, Shot, Story

TIMES = re.compile(
    r"\b(?:DAY|NIGHT|MORNING|EVENING|AFTERNOON|DUSK|DAWN|NOON|MIDDAY|MIDNIGHT|SUNSET|SUNRISE|TWILIGHT|LATER|EARLIER"
    r"|CONTINUOUS|SAME|MAGIC HOUR)\b",
    re.IGNORECASE,
)
UNSEEN = re.compile(r"\b[VO]\.?\s?[OSC]\b", re.IGNORECASE)  # V.O., O.S., O.C.: whose voice it is, is not in the shot


@dataclass
class _Draft:
    """A shot while it is read: its action, and what attaches to it. `speakers` are the identities of those seen."""

    action: str = ""
    dialogue: list[str] = field(default_factory=list)
    speakers: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    transition: str = ""


@dataclass
class _DraftScene:
    heading: str
    shots: list[_Draft] = field(default_factory=list)


def parse_fountain(text: str, file: str) -> Story:
    """The story of the screenplay `text`. Every paragraph of action is a shot; dialogue goes to the shot before it.

    Scenes are SC01, SC02, ... and shots SH010, SH020, ... in each. The title page may say `FPS`, `Aspect` and
    `Logline`. A character is whoever has a cue or stands in capitals in the action, described by the first such
    sentence; a shot has those whom it names and those who speak in it (not V.O. or O.S.). A place is a heading without
    its time of day. Raises InputError with the line.
    """
    found = elements(text, file)
    title = {element.who: element for element in found if element.kind == "title"}
    drafts = _drafts(found, file)
    if not any(scene.shots for scene in drafts):
        raise InputError(f"{file}:1: found no action, expected a screenplay with a paragraph of action for each shot")
    characters = _characters(found)
    anyone = mentioned(character.name for character in characters)
    places = [_place(scene.heading) for scene in drafts]
    locations = {identity(place): Location(identity(place), displayed(place)) for place in reversed(places) if place}
    order = dict.fromkeys(identity(place) for place in places if place)
    return Story(
        title=(title["title"].text if "title" in title else "") or Path(file).stem,
        overview=next((title[key].text for key in ("logline", "overview") if key in title), ""),
        fps=_fps(title["fps"], file) if "fps" in title else 8.0,
        aspect=_aspect(title["aspect"], file) if "aspect" in title else "1:1",
        characters=tuple(characters),
        locations=tuple(locations[key] for key in order),
        scenes=tuple(
            Scene(
                id=f"SC{number:02d}",
                heading=scene.heading,
                location=identity(place),
                shots=tuple(_shot(draft, index, anyone) for index, draft in enumerate(scene.shots, 1)),
            )
            for number, (scene, place) in enumerate(zip(drafts, places, strict=True), 1)
        ),
    )


def _drafts(found: list[Element], file: str) -> list[_DraftScene]:
    """Scenes and shots in order. What comes before a scene's first action belongs to its first shot."""
    scenes: list[_DraftScene] = []
    early = _Draft()
    count = 0
    for element in found:
        if element.kind == "heading":
            early = _voices_alone(scenes, early)
            scenes.append(_DraftScene(element.text))
        elif element.kind == "action":
            count += 1
            if count > MOST_SHOTS:
                raise InputError(f"{file}:{element.line}: found shot {count:,}, expected at most {MOST_SHOTS:,}")
            if not scenes:
                scenes.append(_DraftScene(""))
            early.action = element.text
            scenes[-1].shots.append(early)
            early = _Draft()
        elif element.kind != "title":
            _attach(element, scenes[-1].shots[-1] if scenes and scenes[-1].shots else early)
    _voices_alone(scenes, early)
    return scenes


def _voices_alone(scenes: list[_DraftScene], early: _Draft) -> _Draft:
    """A scene in which people only speak becomes one shot of that. Returns what is left over for the next scene."""
    if not early.dialogue:
        return early
    if not scenes:
        scenes.append(_DraftScene(""))
    names = dict.fromkeys(line.partition(":")[0] for line in early.dialogue)
    early.action = " and ".join(names) + (" speaks." if len(names) == 1 else " speak.")
    scenes[-1].shots.append(early)
    return _Draft()


def _attach(element: Element, shot: _Draft) -> None:
    if element.kind == "transition" and shot.action:
        shot.transition = element.text
    elif element.kind == "dialogue":
        shot.dialogue.append(f"{displayed(element.who)}: {element.text}" if element.who else element.text)
        if element.who and not UNSEEN.search(element.aside):
            shot.speakers.append(identity(element.who))
    elif element.text:  # a note, a synopsis, or the transition that opens the film
        shot.notes.append(element.text)


def _characters(found: list[Element]) -> list[Character]:
    """Everybody, in the order of their first cue or first capitals."""
    cues = [element.who for element in found if element.kind == "dialogue" and identity(element.who)]
    spoken = {identity(cue) for cue in cues}
    people: dict[str, Character] = {}
    for element in found:
        if element.kind == "dialogue" and identity(element.who):
            key = identity(element.who)
            people.setdefault(key, Character(key, displayed(element.who)))
        elif element.kind == "action":
            for name, sentence in introductions(element.text, spoken):
                key = identity(name)
                if key not in people or not people[key].description:
                    people[key] = Character(key, people[key].name if key in people else displayed(name), sentence)
    return list(people.values())


def _shot(draft: _Draft, index: int, anyone: re.Pattern[str] | None) -> Shot:
    named = [identity(match[0]) for match in anyone.finditer(draft.action)] if anyone else []
    return Shot(
        id=f"SH{10 * index:03d}",
        description=draft.action,
        characters=tuple(dict.fromkeys(named + draft.speakers)),
        transition=draft.transition,
        dialogue="\n".join(draft.dialogue),
        notes="\n".join(draft.notes),
    )


def _place(heading: str) -> str:
    """KITCHEN of "INT. KITCHEN - DAY"; the last part of a heading goes if it is a time."""
    match = HEADING.match(heading)
    parts = re.split(r"(?:^|\s+)[-–—]+\s*", heading[match.end() :].lstrip(". /") if match else heading)
    if len(parts) > 1 and TIMES.search(parts[-1]):
        parts = parts[:-1]
    place = " - ".join(part.strip() for part in parts).strip()
    return place if identity(place) else ""


def _fps(entry: Element, file: str) -> float:
    value = float(entry.text) if re.fullmatch(r"\d{1,3}(\.\d{1,6})?", entry.text, re.ASCII) else 0.0
    if not LEAST_FPS <= value <= MOST_FPS:
        expected = f"frames a second, from {LEAST_FPS:g} to {MOST_FPS:g}"
        raise InputError(f"{file}:{entry.line}: FPS: found {described(entry.text)}, expected {expected}")
    return value


def _aspect(entry: Element, file: str) -> str:
    if not ASPECT.fullmatch(entry.text):
        expected = 'width:height in whole numbers, such as "16:9"'
        raise InputError(f"{file}:{entry.line}: Aspect: found {described(entry.text)}, expected {expected}")
    return entry.text
