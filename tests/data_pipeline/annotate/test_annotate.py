"""Annotating an ingested film: who says what of its shots, what is written, and that it can be run again."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_pipeline.annotate.asking import Asker
from data_pipeline.annotate.captioner import Captioner
from data_pipeline.annotate.endpoint import Endpoint
from data_pipeline.annotate.film import annotate_film
from data_pipeline.annotate.model import ModelError, Question
from data_pipeline.annotate.rewrite import Referential
from data_pipeline.annotate.roles import read_roles
from data_pipeline.annotate.side_table import read_side_table
from data_pipeline.annotate.side_texts import Subtitles, Texts, read_srt, spans
from data_pipeline.film_folder import film_sources
from data_pipeline.ingest.shots import FilmShots
from data_pipeline.outside import write_sources
from data_pipeline.records import open_records
from stage_jax.cli.main import main
from stage_jax.errors import InputError
from stage_jax.story.masks import UNKNOWN
from stage_jax.story.readers import read_story
from stage_jax.story.types import Shot
from tests.data_pipeline.annotate.fake_endpoint import Handler, fails, raw, says, serving
from tests.data_pipeline.annotate.films import write_film


class Speaker:
    """A model that answers with what `say` makes of a question; keeps the questions."""

    name = "speaker"

    def __init__(self, say: Callable[[Question], object]) -> None:
        self.say, self.asked = say, []

    def answer(self, question: Question) -> str:
        self.asked.append(question)
        return json.dumps(self.say(question))


def shots(folder: Path) -> dict[str, Shot]:
    story = read_story(folder / "story.json", captions=False)
    return {story.shot_name(scene, shot): shot for scene, shot in story.shots()}


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "annotations.jsonl").read_text().splitlines()]


TABLES = {
    "diffsynth.csv": "video,prompt,shot_type,seed\nbunny/SC01_SH010.mp4,\"A hill, at dawn.\",CU,1\n"
                     "SC01_SH020.mp4,Ears.,two-shot,2\n",
    "musubi.jsonl": '{"video_path": "SC01_SH010.mp4", "caption": "A hill, at dawn.", "shot_size": "Close Up"}\n'
                    '{"image_path": "x/bunny/SC01_SH020_end.png", "caption": "Ears.", "size": "two-shot"}\n',
    "fastvideo.json": '[{"path": "bunny.mp4/SC01_SH010", "cap": "A hill, at dawn.", "size": "close-up shot"},'
                      ' {"path": "other/SC01_SH020.mp4", "cap": "Another film."},'
                      ' {"path": "C:\\\\clips\\\\bunny\\\\SC01_SH020.mp4", "cap": "Ears.", "size": "two-shot"}]',
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_other_trainers(name: str, tmp_path: Path) -> None:
    write_film(tmp_path / "bunny", shots=4)
    (tmp_path / name).write_text(TABLES[name])
    table = read_side_table(tmp_path / name)
    annotate_film(tmp_path / "bunny", [table])
    told = shots(tmp_path / "bunny")
    assert [shot.description for shot in told.values()] == ["A hill, at dawn.", "Ears.", ""]
    assert [shot.size for shot in told.values()] == ["close-up", "", ""]
    assert [shot.movement for shot in told.values()] == ["", "pan left", ""]
    assert table.unknown == (("seed",) if name.endswith("csv") else ())
    first, second, third, _ = lines(tmp_path / "bunny")
    assert first["by"]["description"] == str(tmp_path / name) and second["by"]["movement"] == "ingest" and third["by"] == {}
    (problem,) = second["problems"]
    assert "row" in problem and 'size: found the string "two-shot", expected one of extreme close-up, ' in problem
    sources = film_sources(tmp_path / "bunny").sources  # two stories
    assert [[s.description for _, s in source.load().story.shots()] for source in sources] == [
        ["A hill, at dawn.", "Ears."],
        [""],
    ]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([{"caption": "x"}], r"row 1: found no shot, expected one of the columns shot, .*video"),
        ([{"shot": "a", "cap": 3}], r"row 1.cap: found the number 3, expected a string"),
        ([{"shot": "a"}, {"video": "a.mp4"}], r"row 2: found the string \"a\" again"),
        ([], r"found no row"),
    ],
)
def test_tables_that_are_none(rows: list, expected: str, tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(json.dumps(rows))
    with pytest.raises(InputError, match=expected):
        read_side_table(tmp_path / "t.json")


SRT = """1
00:00:00,500 --> 00:00:01,000
<i>Where</i> am I?

2
00:00:01,800 --> 00:00:03.900 X1:40
{\\an8}Here &amp; now,
old friend.

00:00:09,000 --> 00:00:10,000
After the film.
"""


def test_texts_and_subtitles(tmp_path: Path) -> None:
    folder = tmp_path / "bunny"
    write_film(folder)
    (folder / "SC01_SH010.txt").write_text("\ufeffA hill,\n at dawn.\n")
    (tmp_path / "bunny.srt").write_text(SRT)
    annotate_film(folder, [Texts(folder), Subtitles(tmp_path, "dialogue"), Subtitles(tmp_path / "bunny.srt", "description")])
    told = shots(folder)
    assert [shot.dialogue for shot in told.values()] == ["Where am I?", "Here & now, old friend.", ""]
    assert [shot.description for shot in told.values()] == ["Where am I?", "Here & now, old friend.", ""]
    (tmp_path / "bunny.srt").write_text("1\n00:00:01 --> 2\nx\n")
    with pytest.raises(InputError, match=r'bunny.srt:2: found the string "00:00:01 --> 2", expected times'):
        read_srt(tmp_path / "bunny.srt")
    with pytest.raises(InputError, match="none.srt: found nothing there"):
        Subtitles(tmp_path / "none.srt", "dialogue")


def test_subtitles_follow_the_times_of_the_film(tmp_path: Path) -> None:
    """Not its frames at an even rate: here the first shot's come at 12 a second, those of the others at 24."""
    film = write_film(tmp_path / "bunny")
    times = [(2 / 12, 45 / 12), (4 + 2 / 24, 4 + 45 / 24), (6 + 2 / 24, 6 + 45 / 24)]
    records = [dataclasses.replace(s, start_seconds=a, end_seconds=b) for s, (a, b) in zip(film.shots, times, strict=True)]
    found = spans(FilmShots(film.folder, tuple(records)))
    assert list(found) == [shot.name for shot in film.shots]
    np.testing.assert_allclose(list(found.values()), [(0, 4), (4, 6), (6, 8)], atol=1e-9)


def test_a_model_says_what_is_missing(tmp_path: Path) -> None:
    write_film(tmp_path / "bunny")
    (tmp_path / "t.csv").write_text(
        "shot,caption,size,angle,movement\nSC01_SH010,Mine.,full,low,tracking\nSC01_SH020,Mine too.,,,\n"
    )
    model = Speaker(
        lambda q: {
            n: {"caption": "A rabbit.", "size": "close-up", "angle": "low"}.get(n, "unknown") for n in q.schema["required"]
        }
    )
    parts = [read_side_table(tmp_path / "t.csv"), Captioner(Asker(model, tmp_path / "answers"), workers=2)]
    annotate_film(tmp_path / "bunny", parts)
    told = [(s.description, s.size, s.angle, s.movement) for s in shots(tmp_path / "bunny").values()]
    assert told == [
        ("Mine.", "full", "low", "tracking"),
        ("Mine too.", "close-up", "low", "pan left"),
        ("A rabbit.", "close-up", "low", ""),
    ]
    assert sorted(question.schema["required"] for question in model.asked) == [
        ["caption", "size", "angle"],
        ["caption", "size", "angle", "movement"],
    ]
    assert all(len(question.pictures) == 3 and "3 frames of one shot" in question.words for question in model.asked)
    assert lines(tmp_path / "bunny")[2]["by"] == dict.fromkeys(("description", "size", "angle"), "speaker")


def test_captions_refer_to_the_shot_before(tmp_path: Path) -> None:
    """Only within a story, from the captions as they were, and never without both."""
    write_film(tmp_path / "bunny", story_of=(1, 1, 1))
    (tmp_path / "t.csv").write_text(
        "shot,caption\nSC01_SH010,A man in black.\nSC01_SH020,A man in {white}.\nSC01_SH030,A hill.\n"
    )
    model = Speaker(lambda q: {"caption": f"The same man, {len(q.pictures)}."})
    part = Referential(Asker(model, tmp_path / "answers"))
    annotate_film(tmp_path / "bunny", [read_side_table(tmp_path / "t.csv"), part])
    assert [shot.description for shot in shots(tmp_path / "bunny").values()] == ["A man in black.", *["The same man, 4."] * 2]
    assert (
        "earlier shot: A man in black.\n" in model.asked[0].words and "later shot: A man in {white}.\n" in model.asked[0].words
    )
    assert "earlier shot: A man in {white}.\n" in model.asked[1].words
    assert lines(tmp_path / "bunny")[1]["by"]["description"].endswith("t.csv, rewritten by speaker")
    write_film(tmp_path / "other")
    annotate_film(tmp_path / "other", [part])
    assert [line["problems"] for line in lines(tmp_path / "other")[:3]] == [
        [],
        ["not made referential: a caption is missing"],
        [],
    ]
    assert len(model.asked) == 2


def test_a_malicious_endpoint_poisons_nothing(tmp_path: Path) -> None:
    """Every kind of bad answer to some shot, in one film: each is a problem of its shot, and nothing of it is written."""
    write_film(tmp_path / "bunny")
    good = {"caption": "A rabbit.", "size": "full", "angle": "low"}
    bad = [
        says(good | {"caption": "<script>alert(document.cookie)</script>"}), says("x" * 600_000), says("<script>"),
        fails(500, "<script>"), fails(429, Retry_After="1"), raw(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{"),
        lambda handler: handler.send(b"<" * (1 << 21)), raw(b"<evil>"),
    ]  # fmt: skip

    def reply(handler: Handler) -> None:
        words = handler.asked["messages"][0]["content"][-1]["text"]
        if '"movement"' in words:  # shots 1 and 3; of shot 2 it is known
            bad[len(handler.server.requests) % len(bad)](handler)
        else:
            says(good)(handler)

    with serving(reply) as server:
        asker = Asker(Endpoint(server.url, "eyes"), tmp_path / "answers", attempts=9, sleep=lambda _: None)
        annotate_film(tmp_path / "bunny", [Captioner(asker, workers=3)])
    assert [shot.description for shot in shots(tmp_path / "bunny").values()] == ["", "A rabbit.", ""]
    assert [len(line["problems"]) for line in lines(tmp_path / "bunny")[:3]] == [1, 0, 1]
    everything = "".join(file.read_text() for file in tmp_path.rglob("*.json*"))
    assert not any(word in everything for word in ("<", "alert", "x" * 99))


def test_run_again_it_asks_for_the_rest_and_writes_the_same(tmp_path: Path) -> None:
    write_film(tmp_path / "bunny")
    answer = {"caption": "A rabbit.", "size": "full", "angle": "unknown", "movement": "static"}

    def stops(question: Question) -> dict:
        if len(model.asked) == 2:
            raise ModelError("gone", retry=False)
        return {name: answer[name] for name in question.schema["required"]}

    model = Speaker(stops)
    annotate_film(tmp_path / "bunny", [Captioner(Asker(model, tmp_path / "answers"))])
    assert [line["problems"] for line in lines(tmp_path / "bunny")[:3]] == [[], ["no caption: gone"], []]
    annotate_film(tmp_path / "bunny", [Captioner(Asker(model, tmp_path / "answers"))])
    assert len(model.asked) == 4
    written = [(tmp_path / "bunny" / name).read_bytes() for name in ("story.json", "annotations.jsonl")]
    annotate_film(tmp_path / "bunny", [Captioner(Asker(model, tmp_path / "answers"))])
    assert len(model.asked) == 4
    assert [(tmp_path / "bunny" / name).read_bytes() for name in ("story.json", "annotations.jsonl")] == written


def test_a_story_that_somebody_wrote_stays(tmp_path: Path) -> None:
    folder = tmp_path / "bunny"
    write_film(folder)
    annotate_film(folder, [])
    story = json.loads((folder / "story.json").read_text())
    story["scenes"][0]["shots"][0]["description"] = "By hand."
    (folder / "story.json").write_text(json.dumps(story))
    with pytest.raises(InputError, match=r"story.json: found a story that was not annotated here or was changed since"):
        annotate_film(folder, [])
    (folder / "annotations.jsonl").unlink()
    with pytest.raises(InputError, match="not annotated here"):
        annotate_film(folder, [])
    assert shots(folder)["SC01_SH010"].description == "By hand."


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two films and one that is damaged: the others are annotated, and the exit code says that something is missing."""
    monkeypatch.setenv("EYES_KEY", "sk-1")
    for name in ("a", "b", "c"):
        write_film(tmp_path / "films" / name)
    (tmp_path / "films" / "b" / "shots.jsonl").write_text("{}\n")
    rows = "shot,caption,mood\n" + "".join(f"{film}/SC01_SH010,Mine.,x\n" for film in ("a", "c"))
    (tmp_path / "t.csv").write_text(rows)
    answer = {"caption": "A rabbit.", "size": "full", "angle": "low"}

    def reply(handler: Handler) -> None:
        words = handler.asked["messages"][0]["content"][-1]["text"]
        says(answer | ({"movement": "static"} if '"movement"' in words else {}))(handler)

    with serving(reply) as server:
        flags = ["--captions", tmp_path / "t.csv", "--endpoint", server.url, "--model", "eyes", "--key-env", "EYES_KEY"]
        assert main(["data", "annotate", str(tmp_path / "films"), *map(str, flags)]) == 1
        seen = len(server.requests)
        (tmp_path / "films" / "b" / "shots.jsonl").unlink()
        assert main(["data", "annotate", str(tmp_path / "films"), *map(str, flags)]) == 0 and len(server.requests) == seen
    captured = capsys.readouterr()
    assert captured.out.count(f"{tmp_path}/films/a: 3 of 3 shots have a caption, 0 are left out") == 2
    assert captured.err.count("t.csv: columns that are not read: mood") == 2 and captured.err.count("shots.jsonl:1") == 1
    assert [shot.description for shot in shots(tmp_path / "films" / "c").values()] == ["Mine.", "A rabbit.", "A rabbit."]
    assert not any("sk-1" in file.read_text() for file in tmp_path.rglob("*.json*"))
    (tmp_path / "t.csv").write_text("shot,caption\nSC09_SH010,x\n")
    assert main(["data", "annotate", str(tmp_path / "films" / "a"), "--captions", str(tmp_path / "t.csv")]) == 1
    assert "t.csv: of 1 rows these name no shot here: row 1\n" in capsys.readouterr().err
    roles = {"characters": [{"id": "a", "name": "A"}], "shots": [{"shot": "SC09_SH010", "characters": ["a"]}]}
    (tmp_path / "roles.json").write_text(json.dumps(roles))
    assert main(["data", "annotate", str(tmp_path / "films" / "a"), "--roles", str(tmp_path / "roles.json")]) == 1
    assert "roles.json: of 1 rows these name no shot here: SC09_SH010\n" in capsys.readouterr().err
    assert main(["data", "annotate", str(tmp_path / "films" / "a"), "--referential"]) == 2
    assert main(["data", "annotate", str(tmp_path / "films" / "a"), "--endpoint", "http://h/v1"]) == 2


def test_roles(tmp_path: Path) -> None:
    """A film's story has the characters that its shots name; what the file gets wrong is told with its place."""
    folder = tmp_path / "bunny"
    write_film(folder)
    shutil.copy(folder / "SC01_SH010_start.png", folder / "anna.png")
    people = [{"id": name, "name": name.title(), "description": "in red"} for name in ("zoe", "anna", "ben")]
    people[1]["references"] = ["anna.png"]
    entries = [{"shot": "bunny/SC01_SH020", "characters": ["ben", "anna"]}, {"shot": "other/SC01_SH010", "characters": ["zoe"]}]
    path = tmp_path / "roles.json"
    path.write_text(json.dumps({"characters": people, "shots": entries}))
    annotate_film(folder, [read_roles(path)])
    story = read_story(folder / "story.json", captions=False)
    assert [character.id for character in story.characters] == ["anna", "ben"] and story.characters[0].references == (
        "anna.png",
    )
    assert [shot.characters for shot in shots(folder).values()] == [(), ("ben", "anna"), ()]
    assert lines(folder)[1]["by"]["characters"] == str(path)
    (folder / "anna.png").unlink()
    with pytest.raises(InputError, match=r"anna.png: found nothing there, expected a picture of 'anna'"):
        annotate_film(folder, [read_roles(path)])
    people[1]["references"] = ["../anna.png"]
    path.write_text(json.dumps({"characters": people, "shots": entries}))
    with pytest.raises(InputError, match=r"characters\[1\].references\[0\]: found .* stays in the"):
        read_roles(path)
    people[1]["references"] = []
    path.write_text(json.dumps({"characters": people, "shots": [{"shot": "SC01_SH010", "characters": ["bob"]}]}))
    with pytest.raises(
        InputError, match=r"shots\[0\].characters\[0\]: found the string \"bob\", expected the id of a character"
    ):
        read_roles(path)


def test_roles_name_a_shot_once(tmp_path: Path) -> None:
    entries = [{"shot": "SC01_SH010", "characters": [who]} for who in ("anna", "ben")]
    people = [{"id": who, "name": who} for who in ("anna", "ben")]
    (tmp_path / "roles.json").write_text(json.dumps({"characters": people, "shots": entries}))
    with pytest.raises(InputError, match=r'shots\[1\].shot: found the string "SC01_SH010" again, expected an entry for each'):
        read_roles(tmp_path / "roles.json")


def test_roles_become_records(tmp_path: Path) -> None:
    """References and masks beside the frames: as many of each character as of the one with the fewest, fitted to the size."""
    folder = tmp_path / "bunny"
    write_film(folder, story_of=(1, 1, 1))
    for name, grey in (("a1", 10), ("a2", 20), ("b1", 30)):
        Image.new("RGB", (20, 20), (grey,) * 3).save(folder / f"{name}.png")
    people = [{"id": who, "name": who, "references": files} for who, files in (("a", ["a1.png", "a2.png"]), ("b", ["b1.png"]))]
    roles = {"characters": people, "shots": [{"shot": "SC01_SH010", "characters": ["b", "a"]}]}
    (tmp_path / "roles.json").write_text(json.dumps(roles))
    annotate_film(folder, [read_roles(tmp_path / "roles.json")])
    mask = np.zeros((18, 32), np.uint8)
    mask[:, 16:] = 2
    names = [f"SC01_SH0{n}0_{which}_mask.png" for n in (1, 2, 3) for which in ("start", "end")]
    for name in names:
        Image.fromarray(mask).save(folder / name)
    write_sources(film_sources(folder).sources, tmp_path / "out", [(16, 16)], about={})
    (record,) = open_records(tmp_path / "out", "train")
    assert record["references"].shape == (2, 16, 16, 3) and record["references"][:, 0, 0, 0].tolist() == [10, 30]
    masks = record["masks"].reshape(3, 3, 16, 16)  # of each shot start, end, and an interior frame of which nobody knows
    assert (masks[:, :2] == np.repeat([0, 2], 8)).all() and (masks[:, 2] == UNKNOWN).all()
    Image.fromarray(mask + 1).save(folder / names[0])
    with pytest.raises(InputError, match=r"start_mask.png: found 3 in it, expected at most 2"):
        film_sources(folder).sources[0].load()
    Image.fromarray(mask[:9]).save(folder / names[0])
    with pytest.raises(InputError, match=r"found a picture of 9 x 32, L, expected 18 x 32 as its picture"):
        film_sources(folder).sources[0].load()
    (folder / names[0]).unlink()
    with pytest.raises(InputError, match=r"found no SC01_SH010_start_mask.png, expected masks of all frames or of none"):
        film_sources(folder).sources[0].load()


def test_among_several_films_files_have_to_name_them(tmp_path: Path) -> None:
    """Else the words on one film would end up on all."""
    (tmp_path / "t.csv").write_text("shot,caption\nSC01_SH010,x\nb/SC01_SH020,y\n")
    (tmp_path / "SC02_SH010.txt").write_text("z")
    (tmp_path / "b.srt").write_text(SRT)
    for film in "ab":
        write_film(tmp_path / film)
        annotate_film(tmp_path / film, [read_side_table(tmp_path / "t.csv"), Texts(tmp_path)], alone=False)
    assert [[shot.description for shot in shots(tmp_path / film).values()] for film in "ab"] == [[""] * 3, ["", "y", ""]]
    with pytest.raises(InputError, match=r"b.srt: found one file for several films, expected a folder"):
        annotate_film(tmp_path / "a", [Subtitles(tmp_path / "b.srt", "dialogue")], alone=False)
    told = annotate_film(tmp_path / "b", [Subtitles(tmp_path, "dialogue")], alone=False)
    assert told.shots[0].shot.dialogue == "Where am I?"
