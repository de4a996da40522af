"""Stories from outside: ConStoryBoard in its documented shape, films that were ingested, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_pipeline.constoryboard import ANNOTATIONS, constoryboard_sources, open_constoryboard
from data_pipeline.film_folder import film_sources
from data_pipeline.ingest.shots import Bars, Camera, ShotRecord, write_shots
from data_pipeline.outside import nearest_size
from data_pipeline.records import open_records
from stage_jax.cli.main import main
from stage_jax.errors import InputError
from stage_jax.story.types import story_from_json


def picture(path: Path, colour: int, size: tuple[int, int] = (24, 40)) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size[1], size[0]), (colour, colour, colour)).save(path)
    return path.name


def shot(folder: Path, number: int, size: tuple[int, int] = (24, 40), **more: object) -> dict:
    """A shot whose frames are grey 10 n and 10 n + 5."""
    start, end = (picture(folder / f"{number}_{grey}.png", 10 * number + grey, size) for grey in (0, 5))
    return {"description": f"shot {number}", "start_frame": start, "end_frame": end} | more


def annotate(folder: Path, data: object) -> Path:
    (folder / ANNOTATIONS).write_text(json.dumps({"data": data}))
    return folder


def greys(record: dict, field: str = "frames") -> list[int]:
    return record[field][:, 0, 0, 0].tolist()


def run(*arguments: object) -> int:
    return main(["data", "records", *map(str, arguments)])


def test_constoryboard_in_its_documented_shape(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Optional fields are taken where they are and tolerated where not; unknown ones are told once, each once."""
    src = tmp_path / "src"
    full = shot(src, 1, shot_type="close-up", shooting_method="static", shot_angle="eye-level", frame_num=81, mood="calm")
    data = [
        {"title": "first", "shots": [full, shot(src, 2, seconds=2.5, mood="wild")], "reviewer": "x"},
        {"shots": [shot(src, 3, mood=None)]},
    ]
    assert run("constoryboard", annotate(src, data), "--out", tmp_path / "out", "--size", "24x40") == 0
    err = capsys.readouterr().err
    assert err.count("keys that are not read: mood, reviewer") == 1 and err.count("mood") == 1
    records = list(open_records(tmp_path / "out", "train"))
    stories = [story_from_json(json.loads(record["story"]), "record") for record in records]
    assert [story.title for story in stories] == ["first", "data[1]"]
    (_, a), (_, b) = stories[0].shots()
    assert (a.description, a.size, a.movement, a.angle, a.seconds) == ("shot 1", "close-up", "static", "eye-level", 81 / 16)
    assert (b.size, b.movement, b.seconds) == ("", "", 2.5)
    assert [greys(record) for record in records] == [[10, 15, 20, 25], [30, 35]]
    assert records[0]["shots"] == 2 and records[0]["preferences"] == "[]" and records[0]["source"] == "ConStoryBoard, data[0]"


def test_shots_without_a_list_are_gathered_by_clip(tmp_path: Path):
    data = [shot(tmp_path, 1, clip_id="a"), shot(tmp_path, 2, clip_id="b"), shot(tmp_path, 3, clip_id="a"), shot(tmp_path, 4)]
    stories = [source.load().story for source in constoryboard_sources(open_constoryboard(annotate(tmp_path, data)))]
    assert [[s.description for _, s in story.shots()] for story in stories] == [["shot 1", "shot 3"], ["shot 2"], ["shot 4"]]


def test_preferences_of_people(tmp_path: Path):
    """What is chosen takes the place of the shot's own frames; a shot without a choice keeps its own."""
    pair = [picture(tmp_path / f"{grey}.png", grey) for grey in (100, 110, 200, 210)]
    data = [{"shots": [shot(tmp_path, 1), shot(tmp_path, 2, chosen=pair[:2], rejected=pair[2:])]}]
    annotate(tmp_path, data)
    assert run("constoryboard_hp", tmp_path, "--out", tmp_path / "out", "--size", "16x16") == 0
    (record,) = open_records(tmp_path / "out", "train")
    assert greys(record) == [10, 15, 100, 110] and greys(record, "rejected") == [200, 210]
    assert [choice["shot"] for choice in json.loads(record["preferences"])] == [1]
    annotate(tmp_path, [{"shots": [shot(tmp_path, 1)]}])
    with pytest.raises(InputError, match=r"data\[0\]: found no shot with 'chosen' and 'rejected'"):
        constoryboard_sources(open_constoryboard(tmp_path), preferences=True)[0].load()


def test_aspects_go_into_folders_of_their_own(tmp_path: Path):
    data = [{"shots": [shot(tmp_path, 1, (20, 40))]}, {"shots": [shot(tmp_path, 2, (40, 20))]}, {"shots": [shot(tmp_path, 3)]}]
    annotate(tmp_path, data)
    assert run("constoryboard", tmp_path, "--out", tmp_path / "out", "--size", "16x32", "--size", "32x16") == 0
    wide, high = (list(open_records(tmp_path / "out" / name, "train")) for name in ("16x32", "32x16"))
    assert [greys(record) for record in wide] == [[10, 15], [30, 35]] and [greys(record) for record in high] == [[20, 25]]
    assert wide[0]["frames"].shape == (2, 16, 32, 3)
    assert nearest_size(943, 1920, [(480, 832), (832, 480), (640, 640)]) == (480, 832)


def test_what_is_held_out_hangs_on_names_alone(tmp_path: Path):
    data = [{"shots": [shot(tmp_path, n)]} for n in range(1, 13)]
    splits = []
    for count in (12, 8):
        annotate(tmp_path, data[:count])
        out = tmp_path / str(count)
        assert run("constoryboard", tmp_path, "--out", out, "--size", "16x16", "--validation", "0.4") == 0
        splits.append({split: [greys(r)[0] for r in open_records(out, split)] for split in ("train", "validation")})
    assert len(splits[0]["validation"]) in range(1, 9)
    assert sorted(g for rows in splits[0].values() for g in rows) == [*range(10, 130, 10)]
    assert {name: [g for g in rows if g <= 80] for name, rows in splits[0].items()} == splits[1]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, "without a list 'data'"),
        ([], "found no story in 'data'"),
        ([3], r"data\[0\]: found the number 3, expected an object"),
        ([{"shots": []}], r"data\[0\].shots: found a list, expected a list of shots"),
        ([{"shots": [{"description": "x"}]}], r"data\[0\].shots\[0\]: found no start, expected one of the keys start_frame"),
        ([{"shots": [{"start_frame": "a.png", "end_frame": "b.png"}]}], r"shots\[0\]: found no description"),
        ([{"shots": [{"description": "x", "start_frame": "../a.png", "end_frame": "b"}]}], "that stays in the story's folder"),
        ([{"shots": [{"description": "x", "start_frame": "a.png", "end_frame": "b"}], "duration": 1}], "a.png: not a picture"),
        ([{"shots": [{"description": "x", "start_frame": 5, "end_frame": "b"}]}], r"\.start_frame: found the number 5"),
        ([{"shot_list": 3}], r"data\[0\].shot_list: found the number 3, expected a list of shots"),
        ([{"description": "x", "start": "there.png", "end": "there.png", "frame_num": "many"}], r"\.frame_num: found"),
    ],
)
def test_what_is_not_of_that_shape_is_told_in_one_line(
    data: object, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    src = tmp_path / "src"
    picture(src / "there.png", 1)
    (src / ANNOTATIONS).write_text(json.dumps({"data": data}))
    if "no description" in words:
        picture(src / "a.png", 1), picture(src / "b.png", 1)
    with pytest.raises(InputError, match=words):
        [source.load() for source in constoryboard_sources(open_constoryboard(src))]
    assert run("constoryboard", src, "--out", tmp_path / "out", "--size", "16x16") == 2
    assert not (tmp_path / "out").exists() and "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("size", ["16", "16x", "axb", "0x16", "16x9999"])
def test_sizes_that_are_none(size: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run("constoryboard", tmp_path, "--out", tmp_path / "out", "--size", size) == 2
    assert "expected height and width" in capsys.readouterr().err


def ingest_like(folder: Path) -> Path:
    """What an ingest leaves: three shots, of which the second is not kept, and a story of one more."""
    shots = []
    for index, kept in enumerate((True, False, True, True)):
        name = "SC02_SH010" if index == 3 else f"SC01_SH0{10 * (index + 1)}"
        taken = (2, 20) if kept else (None, None)
        measured = (Camera("pan", "left", 0.2), Bars(), 90.0, 9.0, 0.2)
        shots.append(ShotRecord("a.mp4", index, 1 + index // 3, name, 0, 22, 1.5, *taken, (), "", *measured, kept, ""))
        if kept:
            for which, grey in (("start", 50), ("end", 60)):
                picture(folder / f"{name}_{which}.png", grey + index)
    write_shots(folder, shots)
    return folder


def test_ingested_films_with_captions_beside_their_frames(tmp_path: Path):
    film = ingest_like(tmp_path / "films" / "a")
    (film / "SC01_SH010.txt").write_text(" what SC01_SH010 shows\n")
    assert run("film_folder", tmp_path / "films", "--out", tmp_path / "out", "--size", "16x16") == 0
    first, second = open_records(tmp_path / "out", "train")
    story = story_from_json(json.loads(first["story"]), "record", captions=False)
    assert [(s.id, s.description, s.movement, s.seconds) for _, s in story.shots()] == [
        ("SH010", "what SC01_SH010 shows", "pan left", 1.5), ("SH030", "", "pan left", 1.5),
    ]  # fmt: skip
    assert greys(first) == [50, 60, 52, 62] and greys(second) == [53, 63] and story.title == "a.mp4"
    with pytest.raises(InputError, match=r"shots\[1\].description: found the string \"\", expected what the shot shows"):
        story_from_json(json.loads(first["story"]), "record")  # as training reads it


def test_an_ingested_film_with_a_story(tmp_path: Path):
    film = ingest_like(tmp_path / "a")
    scenes = [{"id": "SC02", "shots": [{"id": "SH010", "description": "a"}]},
              {"id": "SC01", "shots": [{"id": "SH030", "description": "the third"}]}]  # fmt: skip
    (film / "story.json").write_text(json.dumps({"title": "told", "scenes": scenes}))
    assert {source.whole for source in film_sources(film).sources} == {"a"}  # so that a film is not split
    other, example = (source.load() for source in film_sources(film).sources)
    assert example.story.title == "told" and int(np.unique(example.pairs[0].start).item()) == 52
    assert [s.id for s in other.story.scenes] == ["SC02"]
    (film / "shots.jsonl").unlink()
    (whole,) = film_sources(film).sources
    assert len(whole.load().pairs) == 2
    with pytest.raises(InputError, match="found no shots.jsonl or story.json"):
        film_sources(tmp_path / "a" / "nothing")


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("shots.jsonl", b"{", "shots.jsonl:1: not JSON"),
        ("shots.jsonl", b"\xff", "shots.jsonl: cannot be read"),
        ("shots.jsonl", b'{"index": 1}', "shots.jsonl:1: the top level: found no 'film'"),
        ("shots.jsonl", b"", "shots.jsonl: found no shot"),
        ("shots.jsonl", b"name: SC01_SH010 ../../x", "shots.jsonl:1: name: found the string"),
        ("SC01_SH010.txt", b"\xff", "SC01_SH010.txt: found bytes that are no UTF-8"),
        ("SC01_SH030_end.png", b"x", "SC01_SH030_end.png: not a picture"),
    ],
)
def test_ingests_that_are_broken(file: str, content: bytes, words: str, tmp_path: Path):
    film = ingest_like(tmp_path / "a")
    if content.startswith(b"name"):
        content = (film / file).read_bytes().replace(b"SC01_SH010", b"../../x")
    (film / file).write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        film_sources(film).sources[0].load()
    assert "\n" not in str(caught.value)


def test_text_that_no_story_may_hold_is_refused_when_it_is_read(tmp_path: Path):
    annotate(tmp_path, [{"shots": [shot(tmp_path, 1) | {"description": "a\0b"}]}])
    with pytest.raises(InputError, match="a character that is no text"):
        constoryboard_sources(open_constoryboard(tmp_path))[0].load()
