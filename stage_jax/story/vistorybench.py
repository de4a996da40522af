"""ViStoryBench's stories: a folder with story.json, in English and Chinese, and reference pictures of the characters.

| theirs | ours |
| --- | --- |
| the folder's name | title |
| `Story_type` | overview |
| `Characters`: key, `name_en`, `prompt_en`, `tag` | id, name, description, tag |
| `image/<key>/*.jpg` | references |
| `Setting Description` | a location; shots with the same one after another are a scene |
| `index` | the shot's id, SH010 for 1 |
| `Static Shot Description` | description, or `Plot Correspondence` where it is empty |
| `Plot Correspondence` | notes |
| `Shot Perspective Design` | angle |
| `Characters Appearing` | characters; who is named there alone is one without a description |

Ours are the English texts. The Chinese ones and all other keys stay in `extra`, so that what is read and written again holds
the same values.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from stage_jax.files import is_inside
from stage_jax.story.extra import Taken, keep, kept, put_back
from stage_jax.story.schema import Place, described, shortened
from stage_jax.story.types import Character, Location, Scene, Shot, Story, story_from_json, story_to_json

NAME = "vistorybench"
STATIC, PLOT, CAMERA = "Static Shot Description", "Plot Correspondence", "Shot Perspective Design"
SETTING, APPEARING = "Setting Description", "Characters Appearing"
PICTURES = (".jpg", ".jpeg", ".png")


def is_vistorybench(value: Any) -> bool:
    return isinstance(value, dict) and "Shots" in value


def from_vistorybench(value: Any, file: str) -> Story:
    """The story of a story.json's value; reference pictures are looked for beside it. InputError, naming the place."""
    folder, top = Path(file).parent, Taken(value, Place(file))
    overview = _english(top, "Story_type", str, "")
    cast = {
        key: _character(key, who, top.place.key("Characters").key(key), folder)
        for key, who in top.take("Characters", dict, {}).items()
    }
    place = top.place.key("Shots")
    shots = [_shot(shot, place.item(i), cast) for i, shot in enumerate(top.take("Shots", list))]
    settings = list(dict.fromkeys(setting for setting, _ in shots if setting))
    locations = {text: Location(f"P{n:02d}", " ".join(text.split()[:6]), text) for n, text in enumerate(settings, 1)}
    scenes = tuple(
        Scene(f"SC{n:02d}", location=locations[setting].id if setting else "", shots=tuple(shot for _, shot in group))
        for n, (setting, group) in enumerate(itertools.groupby(shots, key=lambda item: item[0]), 1)
    )
    story = Story(
        title=folder.resolve().name or "ViStoryBench",
        overview=overview,
        characters=tuple(cast.values()),
        locations=tuple(locations.values()),
        scenes=scenes,
        extra=keep(NAME, top.left()),
    )
    return story_from_json(story_to_json(story), file)  # with all its checks


def to_vistorybench(story: Story) -> dict[str, Any]:
    """The value of a ViStoryBench story.json. A story that does not come from there has English texts only. Pictures are not
    copied; what that format has no place for (pairs, durations, dialogue) is left out."""
    places, left = {place.id: place.description or place.name for place in story.locations}, kept(story.extra, NAME)
    listed = [who for who in story.characters if kept(who.extra, NAME).get("listed", True)]
    names = {who.id: who.name for who in story.characters}
    shown = [who for _, shot in story.shots() for who in shot.characters]
    numbered = enumerate(story.shots(), 1)
    values = {
        "Story_type": put_back({"en": story.overview}, left.pop("Story_type", {})),
        "Characters": {who.id: _written(who, shown.count(who.id)) for who in listed},
        "Shots": [_written_shot(shot, number, places.get(scene.location, ""), names) for number, (scene, shot) in numbered],
    }
    return put_back(values, left)


def _english(taken: Taken, key: str, kind: type, default: Any) -> Any:
    """The English value of a key in two languages; the other goes back to the rest."""
    both = Taken(taken.take(key, dict, {}), taken.place.key(key))
    english = both.take("en", kind, default)
    if key not in taken.absent and (left := both.left()):
        taken.rest[key] = left
    return english


def _character(key: str, value: Any, place: Place, folder: Path) -> Character:
    taken = Taken(value, place)
    images = folder / "image" / key
    there = "/" not in key and "\\" not in key and key not in (".", "..") and images.is_dir()
    if there and not is_inside(images, folder):
        raise place.error(f"image/{shortened(key)}, which leads out of {folder}", "a folder inside")
    found = images.iterdir() if there else ()
    pictures = sorted(f"image/{key}/{path.name}" for path in found if path.suffix.lower() in PICTURES)
    name, description, tag = (taken.take(field, str, "") for field in ("name_en", "prompt_en", "tag"))
    left = taken.left() | ({} if name or "name_en" in taken.absent else {"name_en": ""})
    return Character(key, name or key, description, tag, tuple(pictures), keep(NAME, left))


def _shot(value: Any, place: Place, cast: dict[str, Character]) -> tuple[str, Shot]:
    """The setting, and the shot; adds to the cast who is not in it."""
    taken = Taken(value, place)
    index = taken.take("index", int)
    if index < 0:
        raise place.key("index").error(described(index), "a number from 0")
    setting, static, plot, camera = (_english(taken, key, str, "") for key in (SETTING, STATIC, PLOT, CAMERA))
    ids = {name: who.id for who in reversed(cast.values()) for name in (who.name, who.id)}
    appearing = _english(taken, APPEARING, list, [])
    for i, name in enumerate(appearing):
        if not isinstance(name, str) or not name.strip():
            raise place.key(APPEARING).key("en").item(i).error(described(name), "a name")
        if name not in ids:
            cast[name] = Character(name, name, extra=keep(NAME, {"listed": False}))
            ids[name] = name
    characters = tuple(dict.fromkeys(ids[name] for name in appearing))
    left = taken.left()
    if [cast[who].name for who in characters] != appearing:  # spelt by the key, or twice
        left[APPEARING] = left.get(APPEARING, {}) | {"en": appearing}
    if not (static.strip() or plot.strip()):
        raise place.key(STATIC).error(described(static), "what the shot shows, there or in the plot")
    if not static.strip():
        left[STATIC] = left.get(STATIC, {}) | {"en": static}
    shot = Shot(f"SH{10 * index:03d}", static if static.strip() else plot, angle=camera, characters=characters, notes=plot,
                extra=keep(NAME, left))  # fmt: skip
    return setting, shot


def _written(who: Character, appearances: int) -> dict[str, Any]:
    found = {"tag": who.tag, "name_en": who.name, "prompt_en": who.description, "num_of_appearances": appearances}
    return put_back(found, kept(who.extra, NAME))


def _written_shot(shot: Shot, number: int, setting: str, names: dict[str, str]) -> dict[str, Any]:
    digits = shot.id.removeprefix("SH")
    ours = shot.id.startswith("SH") and digits.isdecimal() and digits.isascii() and int(digits) % 10 == 0
    left = kept(shot.extra, NAME)
    texts = {PLOT: shot.notes, SETTING: setting, CAMERA: shot.angle, APPEARING: [names[who] for who in shot.characters],
             STATIC: shot.description}  # fmt: skip
    # Numbers of shots go through a whole story there; ids begin anew in each scene of ours unless they were read from there.
    index = int(digits) // 10 if ours and left else number
    return put_back({"index": index} | {key: put_back({"en": text}, left.pop(key, {})) for key, text in texts.items()}, left)
