"""The shot table that a model is asked for as the director, and the story made of one: checked and repaired."""

from __future__ import annotations

from typing import Any

from stage_jax.story.names import identity
from stage_jax.story.schema import Place, described, shortened
from stage_jax.story.types import Character, Frame, Location, Scene, Shot, Story, story_from_json, story_to_json
from stage_jax.story.vocabulary import VOCABULARY, in_vocabulary

LEAST, MOST = 1.0, 20.0  # seconds of a shot


def _object(**properties: Any) -> dict[str, Any]:
    """Every property required and no other allowed, as strict schemas have to be."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


TEXT = {"type": "string"}
SHOT = _object(
    description=TEXT, **{name: {"type": "string", "enum": list(words)} for name, words in VOCABULARY.items()},
    characters=_list(TEXT), seconds={"type": "number"}, start=TEXT, end=TEXT, dialogue=TEXT,
)  # fmt: skip
SCHEMA = _object(
    title=TEXT,
    overview=TEXT,
    characters=_list(_object(name=TEXT, description=TEXT)),
    locations=_list(_object(name=TEXT, description=TEXT)),
    scenes=_list(_object(heading=TEXT, location=TEXT, shots=_list(SHOT))),
)
Known = dict[str, tuple[str, str]]  # name and description by identity


def story_of(value: Any, where: str) -> tuple[Story, list[str]]:
    """The story of a shot table, and each repair in words: names that are in no list, words that are in no vocabulary, lengths
    that are out of bounds, shots that say nothing. InputError, naming the place, for what is of another type or missing."""
    top, repairs = Place(where), list[str]()
    value = _typed(value, dict, top)
    people = _named(value, "characters", top)
    places = _named(value, "locations", top)
    scenes = []
    for i, scene in enumerate(_typed(value.get("scenes"), list, top.key("scenes"))):
        here = top.key("scenes").item(i)
        scene = _typed(scene, dict, here)
        where_it_is = _known(_text(scene, "location", here), places, here.key("location"), repairs)
        shots = []
        for j, shot in enumerate(_typed(scene.get("shots"), list, here.key("shots"))):
            there = here.key("shots").item(j)
            made = _shot(_typed(shot, dict, there), there, len(shots), people, repairs)
            shots += [made] if made else []
        if shots:
            scenes.append(Scene(f"SC{len(scenes) + 1:02d}", _text(scene, "heading", here), where_it_is, tuple(shots)))
    story = Story(
        title=_text(value, "title", top),
        overview=_text(value, "overview", top),
        characters=tuple(Character(key, name, told) for key, (name, told) in people.items()),
        locations=tuple(Location(key, name, told) for key, (name, told) in places.items()),
        scenes=tuple(scenes),
    )
    return story_from_json(story_to_json(story), where), repairs  # with all its checks


def _shot(shot: dict[str, Any], place: Place, index: int, people: Known, repairs: list[str]) -> Shot | None:
    description = _text(shot, "description", place)
    if not description.strip():
        repairs.append(f"{place.path}: left out, since it says nothing")
        return None
    who = [_known(name, people, place.key("characters"), repairs) for name in _typed(shot.get("characters", []), list, place)]
    return Shot(
        f"SH{10 * (index + 1):03d}",
        description,
        **{name: _word(shot, name, place, repairs) for name in VOCABULARY},
        characters=tuple(dict.fromkeys(filter(None, who))),
        seconds=_seconds(shot, place, repairs),
        start=Frame(_text(shot, "start", place)),
        end=Frame(_text(shot, "end", place)),
        dialogue=_text(shot, "dialogue", place),
    )


def _typed(value: Any, kind: type, place: Place) -> Any:
    if not isinstance(value, kind):
        raise place.error("nothing" if value is None else described(value), {dict: "an object", list: "a list"}[kind])
    return value


def _text(value: dict[str, Any], key: str, place: Place) -> str:
    found = value.get(key)
    if found is None:
        return ""
    if not isinstance(found, str):
        raise place.key(key).error(described(found), "a string")
    return found


def _named(value: dict[str, Any], key: str, top: Place) -> Known:
    """Name and description by identity; the first of the same name counts."""
    found: Known = {}
    for i, entry in enumerate(_typed(value.get(key, []), list, top.key(key))):
        place = top.key(key).item(i)
        name, told = (_text(_typed(entry, dict, place), field, place) for field in ("name", "description"))
        if identity(name):
            found.setdefault(identity(name), (name, told))
    return found


def _known(name: Any, known: Known, place: Place, repairs: list[str]) -> str:
    """The id of somebody or someplace by name; who is in no list gets into it."""
    if not isinstance(name, str):
        raise place.error(described(name), "a name")
    if identity(name) and identity(name) not in known:
        known[identity(name)] = (name, "")
        repairs.append(f"{place.path}: added {shortened(name)}, who is in no list")
    return identity(name)


def _word(shot: dict[str, Any], key: str, place: Place, repairs: list[str]) -> str:
    found = _text(shot, key, place)
    if found in VOCABULARY[key] or not found.strip():
        return found.strip()
    meant = in_vocabulary(key, found) or ""
    repairs.append(f"{place.key(key).path}: {meant or 'nothing'} for {shortened(found)}")
    return meant


def _seconds(shot: dict[str, Any], place: Place, repairs: list[str]) -> float:
    found = shot.get("seconds", Shot.seconds)
    try:
        seconds = float(found)
        if seconds != seconds or isinstance(found, bool):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise place.key("seconds").error(described(found), "a number of seconds") from None
    within = min(MOST, max(LEAST, seconds))
    if within != seconds:
        repairs.append(f"{place.key('seconds').path}: {within:g} for {described(seconds).removeprefix('the number ')}")
    return within
