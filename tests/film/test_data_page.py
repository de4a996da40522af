"""The page of records: everything a record holds, nothing that a browser would run or fetch."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import numpy as np
import pytest

from data_pipeline.records import Example, Shape, open_splits, write_records
from data_pipeline.toy_cinema.full import captions, pairs, stories
from data_pipeline.toy_records import write_toy_records
from stage_jax.cli import main as cli
from stage_jax.film.data_page import data_page
from stage_jax.story import types

SEED = 23
EVIL = '<img src="https://example.com/x"><script>alert(1)</script>'


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("records") / "full"
    write_toy_records(out, {"train": 1, "test": 2}, "full", seed=SEED, clips=False, size=32)
    return out


def page_of(folder: Path, shown: int = 6, counted: int = 100) -> str:
    return data_page(folder, open_splits(folder), shown, counted)


def record(story: types.Story, **fields) -> Example:
    """A record of a story with frames of noise."""
    n = len(list(story.shots()))
    frames = np.random.default_rng(0).integers(0, 256, (4 * n, 16, 16, 3), np.uint8)
    texts = dict(story=json.dumps(types.story_to_json(story)), truth="{}", split="train", source=EVIL, licence=EVIL)
    return Example(**(texts | dict(frames=frames, clips=frames[:0], shots=n) | fields))


def hostile() -> types.Story:
    shot = types.Shot(id="SH010", description=EVIL, size=EVIL, movement=EVIL, characters=("a",))
    return types.Story(
        title=EVIL,
        characters=(types.Character("a", EVIL, EVIL),),
        locations=(types.Location("b", EVIL, EVIL),),
        scenes=(types.Scene("SC01", EVIL, "b", (shot,)),),
    )


def test_every_frame_mask_reference_and_broken_cut_is_on_it(folder):
    page, story = page_of(folder, shown=1), stories.random_story(SEED)
    only = page.split('class="split">test')[0]
    cuts = len(pairs.broken_cuts(story))
    assert cuts and only.count("<img") == 8 * len(story.shots) + len(story.characters) + 2 * cuts
    for caption in captions.story_captions(story):
        assert html.escape(captions.prose(caption)) in only
    assert all(kind in only for _, kind in pairs.broken_cuts(story)) and "goes on over the cut" in only


def test_statistics_count_all_stories_though_few_are_shown(folder):
    shown, counted = page_of(folder, shown=0), page_of(folder, shown=0, counted=1)
    assert "<img" not in shown
    total = sum(len(stories.random_story(SEED + i, "test").shots) for i in range(2))
    sizes = re.search(r"<figcaption>size</figcaption>(.*?)</figure>", shown.split('class="split">test')[1])[1]
    assert sum(int(n) for n in re.findall(r'class="mono">(\d+)<', sizes)) == total
    assert "The first 1 of 2 stories" in counted and "The first 2 of 2 stories" in shown


def test_nothing_of_a_record_is_markup(tmp_path):
    truth = {"characters": [{"shape": EVIL, "hat": 3}], "places": "none", "shots": [{"action": EVIL, "x": [EVIL]}]}
    why = json.dumps([{"shot": 0, "why": EVIL}])
    bad = record(hostile(), truth=json.dumps(truth), preferences=why, rejected=np.zeros((2, 16, 16, 3), np.uint8))
    write_records(tmp_path / "r", {"train": [bad]}, Shape(16, 16, 2, 0), {"made_by": EVIL})
    page = page_of(tmp_path / "r")
    assert "<script" not in page and "example.com/x&quot;" in page
    assert re.findall(r'(?:src|href)="(?!data:image/png)', page) == [] and "url(" not in page
    assert "default-src 'none'" in html.unescape(page)


def test_records_that_know_nothing_but_frames_are_shown(tmp_path):
    write_records(tmp_path / "r", {"train": [record(hostile(), truth="[1]")]}, Shape(16, 16, 2, 0), {})
    assert page_of(tmp_path / "r").count("<img") == 4


@pytest.mark.parametrize(("fields", "message"), [
    ({"truth": "{"}, "found text that is no JSON"),
    ({"preferences": "[3]"}, "preferences: found something else"),
    ({"preferences": '[{"shot": 0, "why": ""}]'}, "found 0 rejected frames, expected 2 of each of the 1"),
    ({"shots": 2, "frames": np.zeros((8, 16, 16, 3), np.uint8)}, "found 8 frames of 2 shots for a story of 1"),
    ({"shots": 2}, "found 4 pictures in frames, expected 8"),
])  # fmt: skip
def test_broken_records_end_in_one_line(tmp_path, capsys, fields, message):
    write_records(tmp_path / "r", {"train": [record(hostile(), **fields)]}, Shape(16, 16, 2, 0), {})
    assert cli.main(["data", "show", str(tmp_path / "r")]) == 2
    told = capsys.readouterr().err
    assert message in told and str(tmp_path / "r") in told and told.count("\n") == 1
    assert not (tmp_path / "r" / "records.html").exists()


def test_the_verb_writes_the_page_beside_the_records_or_where_it_is_told(tmp_path, capsys):
    write_toy_records(tmp_path / "easy", {"test": 1}, clips=False, size=16)
    assert cli.main(["data", "show", str(tmp_path / "easy")]) == 0
    assert cli.main(["data", "show", str(tmp_path / "easy"), "--out", str(tmp_path / "page.html")]) == 0
    assert (tmp_path / "page.html").read_bytes() == (tmp_path / "easy" / "records.html").read_bytes()
    assert cli.main(["data", "show", str(tmp_path / "none")]) == 2
    assert "found no dataset_info.json" in capsys.readouterr().err
