"""Tables from outside: the names that others use, and what is no table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stage_jax.errors import InputError
from stage_jax.story.tables import Row, listed_once, read_table


@pytest.mark.parametrize(
    ("name", "text", "row"),
    [
        ("diffsynth.csv", "video,prompt,seed\na/b.mp4,\"a cat, asleep\",3\n", Row("a cat, asleep", video="a/b.mp4")),
        ("musubi.jsonl", '{"video_path": "b.mp4", "caption": "x"}\n\n', Row("x", video="b.mp4")),
        ("image.jsonl", '{"image_path": "b.png", "caption": "x"}', Row("x", image="b.png")),
        ("fastvideo.json", '[{"path": "b.mp4", "cap": "x"}]', Row("x", video="b.mp4")),
        ("finetrainers.json", '{"data": [{"caption": "x", "video": "b.mp4"}]}', Row("x", video="b.mp4")),
        ("dpo.json", '[{"prompt": "x", "video_chosen": "a.mp4", "video_rejected": "b.mp4"}]',
         Row("x", video_chosen="a.mp4", video_rejected="b.mp4")),
        ("dpo.csv", "prompt,image_chosen,image_rejected\nx,a.png,b.png\n",
         Row("x", image_chosen="a.png", image_rejected="b.png")),
    ],
)  # fmt: skip
def test_names_of_other_trainers(name: str, text: str, row: Row, tmp_path: Path):
    (tmp_path / name).write_text(text)
    rows, unknown = read_table(tmp_path / name)
    assert rows == [row] and unknown == (["seed"] if "seed" in text else [])


def test_unknown_columns_are_named_once(tmp_path: Path):
    rows = [{"prompt": "x", "fps": 3, "mood": None}, {"prompt": "y", "fps": 4}]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert read_table(tmp_path / "t.jsonl") == ([Row("x"), Row("y")], ["fps", "mood"])
    assert listed_once("abcdefghij") == "a, b, c, d, e, f, g, h and 2 more" and listed_once("ab") == "a, b"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("t.txt", "x", r"found a file called '\*.txt', expected"),
        ("t.json", "{", "t.json:1: not JSON"),
        ("t.json", "3", "expected a list of rows"),
        ("t.json", '{"rows": []}', "expected a list of rows"),
        ("t.json", "[3]", "row 1: found the number 3, expected an object"),
        ("t.jsonl", '{"prompt": "x"}\n{', "t.jsonl:2: not JSON"),
        ("t.jsonl", '{"prompt": 3}', "row 1.prompt: found the number 3, expected a string"),
        ("t.jsonl", '{"video": "x", "path": "y"}', "row 1.path: found a second column for 'video', expected one"),
        ("t.jsonl", '{"video": "/etc/passwd"}', "expected a relative path"),
        ("t.jsonl", '{"mood": "x"}', "row 1: found none of the columns 'prompt' or"),
    ],
)
def test_what_is_no_table(name: str, text: str, words: str, tmp_path: Path):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        read_table(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_and_files_that_are_not_there(tmp_path: Path):
    (tmp_path / "t.csv").write_bytes(b"prompt\n\xff\xfe")
    with pytest.raises(InputError, match="bytes that are no UTF-8"):
        read_table(tmp_path / "t.csv")
    with pytest.raises(InputError, match="cannot be read .No such file"):
        read_table(tmp_path / "none.csv")
