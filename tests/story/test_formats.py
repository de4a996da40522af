"""StoryMem's and ViStoryBench's files: read, written again with the same values, and refused with the place."""

from __future__ import annotations

import copy
import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from stage_jax.errors import InputError
from stage_jax.story.readers import read_story
from stage_jax.story.storymem import from_storymem, to_storymem
from stage_jax.story.types import story_from_json, story_to_json
from stage_jax.story.vistorybench import from_vistorybench, to_vistorybench
from tests.story.test_json import STORY

STORYMEM = {
    "story_name": "The Lantern",
    "story_overview": "A keeper lights the last lantern.",
    "scenes": [
        {"scene_num": 1, "video_prompts": ["A keeper climbs.", "He lights it."],
         "first_frame_prompt": ["A keeper at the foot of a tower.", "A dark lamp."], "cut": [True, False]},
        {"scene_num": 2, "video_prompts": ["Ships turn."], "first_frame_prompt": [""], "cut": [True]},
    ],
}  # fmt: skip


def both(english: Any, chinese: Any) -> dict[str, Any]:
    return {"en": english, "ch": chinese}


def bench_shot(index: int, who: list[str], setting: str, static: str = "Two figures stand.") -> dict[str, Any]:
    return {
        "index": index,
        "Plot Correspondence": both(f"Plot {index}.", "情节"),
        "Setting Description": both(setting, "设定"),
        "Shot Perspective Design": both("Medium shot, eye level", "中景"),
        "Characters Appearing": both(who, ["狐狸"] * len(who)),
        "Static Shot Description": both(static, "静态"),
    }


BENCH = {
    "Story_type": both("Fable", "寓言"),
    "Characters": {
        "Fox": {"tag": "non_human", "name_ch": "狐狸", "name_en": "Fox", "prompt_ch": "红狐", "prompt_en": "a red fox",
                "num_of_appearances": 3},
        "Crow": {"tag": "non_human", "name_ch": "乌鸦", "name_en": "The Crow", "prompt_ch": "黑", "prompt_en": "a crow",
                 "num_of_appearances": 1},
    },
    "Shots": [
        bench_shot(1, ["Fox"], "A wood at dawn."),
        bench_shot(2, ["Fox", "The Crow"], "A wood at dawn."),
        bench_shot(3, ["Fox"], "A tree."),
        bench_shot(4, [], "A wood at dawn.", static=""),
        bench_shot(5, ["Crow", "Owl"], ""),
    ],
}  # fmt: skip


def test_storymem_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / "story.json"
    path.write_text(json.dumps(STORYMEM))
    story = read_story(path)
    assert to_storymem(story) == STORYMEM
    assert to_storymem(story_from_json(json.loads(json.dumps(story_to_json(story))), "x")) == STORYMEM
    first, second, third = (shot for _, shot in story.shots())
    assert (story.title, [scene.id for scene in story.scenes]) == ("The Lantern", ["SC01", "SC02"])
    assert (first.description, first.start.prompt, first.cut, second.cut) == (
        "A keeper climbs.", "A keeper at the foot of a tower.", True, False,
    )  # fmt: skip
    assert third.start.prompt == "" and all(part.extra == "" for part in (story, *story.scenes, first))
    # what the description of the format says instead of what its files hold, and keys of other versions
    odd = copy.deepcopy(STORYMEM) | {"author": {"name": "x"}}
    odd["scenes"][0]["cut"] = ["True", "False"]
    odd["scenes"][0]["camera"] = ["wide", None]
    del odd["scenes"][1]["first_frame_prompt"], odd["story_overview"]
    expected = copy.deepcopy(odd)
    expected["scenes"][0]["cut"] = [True, False]
    assert to_storymem(from_storymem(odd, "x")) == expected


def test_vistorybench_there_and_back(tmp_path: Path) -> None:
    folder = tmp_path / "07"
    for name in ("Fox/01.jpg", "Fox/00.jpg", "Fox/notes.txt", "Crow/00.png"):
        (folder / "image" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "image" / name).write_bytes(b"")
    (folder / "story.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(BENCH).encode())
    story = read_story(folder / "story.json")
    assert to_vistorybench(story) == BENCH
    assert to_vistorybench(story_from_json(json.loads(json.dumps(story_to_json(story))), "x")) == BENCH
    fox, crow, owl = story.characters
    assert (story.title, story.overview, fox.description, crow.name, owl.description) == (
        "07", "Fable", "a red fox", "The Crow", "",
    )  # fmt: skip
    assert fox.references == ("image/Fox/00.jpg", "image/Fox/01.jpg") and crow.references == ("image/Crow/00.png",)
    assert [(len(scene.shots), scene.location) for scene in story.scenes] == [(2, "P01"), (1, "P02"), (1, "P01"), (1, "")]
    second, fourth, fifth = (list(story.shots())[i][1] for i in (1, 3, 4))
    assert (second.id, second.description, second.notes) == ("SH020", "Two figures stand.", "Plot 2.")
    assert second.angle == "Medium shot, eye level" and second.characters == ("Fox", "Crow")
    assert fourth.description == "Plot 4." and fifth.characters == ("Crow", "Owl")
    # keys that are missing stay missing
    small = {"Shots": [{"index": 3, "Static Shot Description": {"en": "A fox."}, "new": [1]}]}
    assert to_vistorybench(from_vistorybench(small, "x/story.json")) == small


def test_stories_of_ours_in_their_formats() -> None:
    """What they have a place for arrives."""
    theirs = to_storymem(STORY)
    assert [scene["video_prompts"] for scene in theirs["scenes"]] == [["Mia waits.", "Tom comes."], ["Both leave."]]
    assert theirs["scenes"][0] | {"video_prompts": 0} == {
        "scene_num": 1, "video_prompts": 0, "first_frame_prompt": ["left", ""], "cut": [True, False],
    }  # fmt: skip
    bench = to_vistorybench(STORY)
    assert bench["Characters"]["mia"] == {
        "tag": "non_human", "name_en": "Mia", "prompt_en": "a red circle", "num_of_appearances": 2,
    }  # fmt: skip
    assert [shot["index"] for shot in bench["Shots"]] == [1, 2, 3]
    assert bench["Shots"][1]["Characters Appearing"] == {"en": ["Tom", "Mia"]}
    assert bench["Shots"][0]["Setting Description"] == {"en": "sand"}
    again = from_vistorybench(bench, "x/story.json")
    assert [shot.description for _, shot in again.shots()] == [shot.description for _, shot in STORY.shots()]


def test_the_tool_converts_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s.fountain").write_text("Title: Two\n\nINT. ROOM\n\nMia waits.\n")
    tool = str(Path(__file__).parents[2] / "tools" / "convert_story.py")
    for source, code in (("s.fountain", 0), ("none.json", 2)):
        arguments = [tool, str(tmp_path / source), str(tmp_path / "out.json"), "--format", "storymem"]
        monkeypatch.setattr(sys, "argv", arguments)
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(tool, run_name="__main__")
        assert ended.value.code == code
    assert json.loads((tmp_path / "out.json").read_text())["scenes"][0]["video_prompts"] == ["Mia waits."]
    told = capsys.readouterr().err
    assert "none.json: cannot be read" in told and told.count("\n") == 1


WRONG = [
    (STORYMEM, ("story_name",), 3, "story_name: found the number 3, expected a string"),
    (STORYMEM, ("scenes",), {}, "scenes: found an object, expected a list"),
    (STORYMEM, ("scenes",), [], "found 0 shots"),
    (STORYMEM, ("scenes", 0, "scene_num"), -1, "scenes[0].scene_num: found the number -1"),
    (STORYMEM, ("scenes", 1, "scene_num"), 1, 'scenes[1].id: found the string "SC01" again'),
    (STORYMEM, ("scenes", 0, "cut"), [True], "scenes[0].cut: found 1 values, expected 2"),
    (STORYMEM, ("scenes", 0, "cut", 1), "maybe", "scenes[0].cut[1]: found"),
    (STORYMEM, ("scenes", 0, "video_prompts", 1), " ", "scenes[0].video_prompts[1]: found"),
    (STORYMEM, ("scenes", 0, "video_prompts", 1), "x" * 20_001, "found a string of 20,001 characters"),
    (STORYMEM, ("scenes", 0, "first_frame_prompt", 0), 1, "scenes[0].first_frame_prompt[0]: found the number 1"),
    (BENCH, ("Shots",), [], "found 0 shots"),
    (BENCH, ("Shots", 0, "index"), "1", 'Shots[0].index: found the string "1", expected a whole number'),
    (BENCH, ("Shots", 0, "index"), -2, "Shots[0].index: found the number -2"),
    (BENCH, ("Shots", 0, "Plot Correspondence"), "x", "Shots[0].Plot Correspondence: found"),
    (BENCH, ("Shots", 3, "Plot Correspondence", "en"), "", "Shots[3].Static Shot Description: found"),
    (BENCH, ("Shots", 0, "Characters Appearing", "en", 0), 5, "Shots[0].Characters Appearing.en[0]: found the number 5"),
    (BENCH, ("Characters", "Fox"), [], "Characters.Fox: found a list, expected an object"),
    (BENCH, ("Characters", "Fox", "prompt_en"), None, "Characters.Fox.prompt_en: found null, expected a string"),
    (BENCH, ("Story_type", "en"), 7, "Story_type.en: found the number 7"),
]


@pytest.mark.parametrize(("value", "path", "wrong", "expected"), WRONG)
def test_what_is_wrong_is_named(value: dict, path: tuple, wrong: Any, expected: str, tmp_path: Path) -> None:
    broken = node = copy.deepcopy(value)
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = wrong
    (tmp_path / "story.json").write_text(json.dumps(broken))
    with pytest.raises(InputError) as caught:
        read_story(tmp_path / "story.json")
    assert expected in str(caught.value) and str(caught.value).startswith(str(tmp_path / "story.json"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["../secret", "a/../../secret", "..", "/etc"])
def test_references_stay_in_the_folder(key: str, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "00.jpg").write_bytes(b"")
    folder = tmp_path / "story"
    (folder / "image" / "a").mkdir(parents=True)
    story = from_vistorybench(BENCH | {"Characters": {key: {}}}, str(folder / "story.json"))
    assert story.characters[0].references == ()
    (folder / "image" / "link").symlink_to(tmp_path / "secret")
    (folder / "story.json").write_text(json.dumps(BENCH | {"Characters": {"link": {}}}))
    with pytest.raises(InputError, match="leads out of"):
        read_story(folder / "story.json")


@pytest.mark.parametrize("extra", ["{", "[]", '{"storymem": 1}', "3"])
def test_extra_is_an_object_of_objects(extra: str) -> None:
    whole = story_to_json(STORY)
    whole["scenes"][0]["extra"] = extra
    with pytest.raises(InputError, match=r"story.json: scenes\[0\].extra: found"):
        story_from_json(whole, "story.json")
