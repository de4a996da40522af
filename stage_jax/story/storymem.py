"""StoryMem's story files (ST-Bench): scenes of video prompts, first-frame prompts and cuts.

| theirs | ours |
| --- | --- |
| `story_name`, `story_overview` | title, overview |
| `scene_num` | the scene's id, SC01 for 1 |
| `video_prompts` | a shot's description |
| `first_frame_prompt` | the prompt of its start frame |
| `cut` | cut; the strings "True" and "False" are understood as well |

Other keys stay in `extra`, so that what is read and written again holds the same values.
"""

from __future__ import annotations

import re
from typing import Any

from stage_jax.story.extra import Taken, keep, kept, put_back
from stage_jax.story.schema import Place, described, truth
from stage_jax.story.types import Frame, Scene, Shot, Story, story_from_json, story_to_json

NAME = "storymem"
LISTS = {"first_frame_prompt": "", "cut": True}  # beside the video prompts, one value for each


def is_storymem(value: Any) -> bool:
    return isinstance(value, dict) and "story_name" in value


def from_storymem(value: Any, file: str) -> Story:
    """The story of a file's JSON value. InputError, naming the place in the file, if it is none."""
    top = Taken(value, Place(file))
    title, overview = top.take("story_name", str), top.take("story_overview", str, "")
    scenes = [_scene(scene, top.place.key("scenes").item(i)) for i, scene in enumerate(top.take("scenes", list))]
    story = Story(title=title, overview=overview, scenes=tuple(scenes), extra=keep(NAME, top.left()))
    return story_from_json(story_to_json(story), file)  # with all its checks


def to_storymem(story: Story) -> dict[str, Any]:
    """The value of a StoryMem file. A shot's video prompt stands in for its description where it has one. What that format has
    no place for (characters, cameras, end frames) is left out."""
    scenes = [_written(scene, number) for number, scene in enumerate(story.scenes, 1)]
    values = {"story_name": story.title, "story_overview": story.overview, "scenes": scenes}
    return put_back(values, kept(story.extra, NAME))


def _scene(value: Any, place: Place) -> Scene:
    taken = Taken(value, place)
    number, prompts = taken.take("scene_num", int), taken.take("video_prompts", list)
    if number < 0:
        raise place.key("scene_num").error(described(number), "a number from 0")
    columns = {name: taken.take(name, list, None) for name in LISTS}
    for name, column in columns.items():
        if column is not None and len(column) != len(prompts):
            raise place.key(name).error(f"{len(column)} values", f"{len(prompts)}, one for each of video_prompts")
    shots = []
    for i, prompt in enumerate(prompts):
        first, cut = (default if columns[name] is None else columns[name][i] for name, default in LISTS.items())
        for name, text in (("video_prompts", prompt), ("first_frame_prompt", first)):
            if not isinstance(text, str):
                raise place.key(name).item(i).error(described(text), "a string")
        if not prompt.strip():
            raise place.key("video_prompts").item(i).error(described(prompt), "what the shot shows")
        shots.append(
            Shot(f"SH{10 * (i + 1):03d}", prompt, cut=truth(cut, place.key("cut").item(i)), start=Frame(prompt=first))
        )
    return Scene(id=f"SC{number:02d}", shots=tuple(shots), extra=keep(NAME, taken.left()))


def _written(scene: Scene, number: int) -> dict[str, Any]:
    named = re.fullmatch(r"SC(\d+)", scene.id, re.ASCII)
    values = {
        "scene_num": int(named[1]) if named else number,
        "video_prompts": [shot.video_prompt or shot.description for shot in scene.shots],
        "first_frame_prompt": [shot.start.prompt for shot in scene.shots],
        "cut": [shot.cut for shot in scene.shots],
    }
    return put_back(values, kept(scene.extra, NAME))
