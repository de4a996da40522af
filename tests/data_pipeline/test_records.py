"""Records: written whole or not at all, read back exactly, also through Grain."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import pickle
import shutil
from pathlib import Path
from types import SimpleNamespace

import grain
import numpy as np
import pytest
from array_record.python import array_record_module
from tensorflow_datasets.core import file_adapters

from data_pipeline import records
from data_pipeline.records import open_records, write_records
from data_pipeline.toy_cinema import render, world
from data_pipeline.toy_cinema.written import to_story
from data_pipeline.toy_records import toy_example, write_toy_records
from stage_jax.errors import InputError
from stage_jax.story.types import story_from_json


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("records") / "toy"
    seen = []
    write_toy_records(
        out, {"train": 4, "validation": 2}, seed=10, progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(i, 6) for i in range(1, 7)]
    assert all(path.is_file() for path in out.iterdir())
    return out


def test_examples_come_back_as_they_went_in(folder):
    source = open_records(folder, "train")
    assert len(source) == 4
    assert source.metadata["interior"] == 2 and source.metadata["clip_frames"] == world.FRAMES
    for i in range(4):
        item, story = source[i], world.random_story(10 + i)
        assert world.from_truth(json.loads(item["truth"])) == story
        assert story_from_json(json.loads(item["story"]), "record") == to_story(story)
        assert (item["split"], item["shots"]) == ("train", len(story.shots))
        assert item["frames"].dtype == item["clips"].dtype == np.uint8
        frames = item["frames"].reshape(-1, 4, 64, 64, 3)
        clips = item["clips"].reshape(-1, world.FRAMES, 64, 64, 3)
        for shot in range(len(story.shots)):
            np.testing.assert_array_equal(clips[shot], render.render_clip(story, shot))
            a, b = world.interior_frames(story, shot)
            np.testing.assert_array_equal(frames[shot], clips[shot][[0, 16, a, b]])


def test_grain_reads_them_shuffled_and_repeatably(folder):
    def epoch() -> list[str]:
        return [item["source"] for item in grain.MapDataset.source(open_records(folder, "train")).seed(3).shuffle()]

    assert epoch() == epoch()
    assert sorted(epoch()) == [f"toy cinema, split train, seed {s}" for s in range(10, 14)]
    copy = pickle.loads(pickle.dumps(open_records(folder, "train")))
    np.testing.assert_array_equal(copy[1]["frames"], open_records(folder, "train")[1]["frames"])


def test_splits_share_no_story(folder):
    """Though their numbers are the same."""
    train, held_out = ([json.loads(x["truth"]) for x in open_records(folder, split)] for split in ("train", "validation"))
    assert {truth["split"] for truth in held_out} == {"validation"}
    assert [truth["seed"] for truth in train] == [10, 11, 12, 13] and [truth["seed"] for truth in held_out] == [10, 11]
    told = [json.dumps({name: truth[name] for name in ("characters", "places", "shots")}) for truth in (*train, *held_out)]
    assert len(set(told)) == 6


def test_without_clips_there_are_none(tmp_path):
    write_toy_records(tmp_path / "r", {"test": 1}, clips=False)
    item = open_records(tmp_path / "r", "test")[0]
    assert item["clips"].shape == (0, 64, 64, 3)
    assert item["frames"].shape == (4 * item["shots"], 64, 64, 3)


def test_the_same_call_writes_the_same_examples(folder, tmp_path):
    write_toy_records(tmp_path / "r", {"train": 4, "validation": 2}, seed=10)
    for a, b in zip(open_records(folder, "train"), open_records(tmp_path / "r", "train"), strict=True):
        assert a["truth"] == b["truth"] and a["story"] == b["story"]
        np.testing.assert_array_equal(a["frames"], b["frames"])


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_interrupted_writing_leaves_nothing(tmp_path, error):
    def progress(done: int, total: int) -> None:
        if done == 2:
            raise error

    with pytest.raises((KeyboardInterrupt, OSError)) as caught:
        write_toy_records(tmp_path / "r", {"train": 5}, progress=progress)
    assert caught.value is error or caught.type is error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_what_the_writer_says_of_a_full_disk_is_an_os_error(tmp_path, monkeypatch, code):
    """The words are ArrayRecord's own, on a disk of 64 KiB."""

    def close(self):
        raise RuntimeError(f"write() failed: {os.strerror(code)}; writing /x; at byte 65536; Failed to close chunk_writer")

    writer = SimpleNamespace(ArrayRecordWriter=lambda *_: type("Writer", (), {"write": lambda *_: True, "close": close})())
    monkeypatch.setattr(file_adapters, "array_record_module", writer)
    with pytest.raises(OSError, match=os.strerror(code)) as caught:
        write_toy_records(tmp_path / "r", {"test": 1}, clips=False)
    assert (caught.value.errno, caught.value.filename) == (code, str(tmp_path / "r"))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="expected a new or empty folder"):
        write_toy_records(tmp_path, {"train": 1})
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_an_empty_folder_may_be_written_to(tmp_path):
    (tmp_path / "r").mkdir()
    write_toy_records(tmp_path / "r", {"train": 1}, clips=False)
    assert len(open_records(tmp_path / "r", "train")) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "found no dataset_info.json"), ("{", "cannot be read"), ('{"name": "x"}', "expected")],
)
def test_folders_that_are_not_ours_are_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "dataset_info.json").write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        open_records(tmp_path, "train")
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_unknown_splits_are_named(folder, tmp_path):
    with pytest.raises(InputError, match=r"no split 'test', expected one of train, validation"):
        open_records(folder, "test")
    with pytest.raises(InputError, match="expected 1 or more for one of train, validation, test"):
        write_toy_records(tmp_path / "r", {"holdout": 3})


def test_records_of_other_formats_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "FORMAT", "stage_jax.records/0")
    example = toy_example(world.random_story(0), clips=False)
    write_records(tmp_path / "r", {"train": [example]}, records.Shape(64, 64, 2, 0), {})
    monkeypatch.undo()
    with pytest.raises(InputError, match="expected 'stage_jax.records/1'"):
        open_records(tmp_path / "r", "train")


def test_only_the_fields_asked_for_are_read(folder):
    few, whole = open_records(folder, "train", ("shots", "frames")), open_records(folder, "train")
    assert set(few[1]) == {"shots", "frames"} and set(pickle.loads(pickle.dumps(few))[1]) == {"shots", "frames"}
    np.testing.assert_array_equal(few[1]["frames"], whole[1]["frames"])


def test_preferences_come_back_as_they_went_in(tmp_path):
    example = toy_example(world.random_story(0), clips=False)
    worse = np.arange(2 * 64 * 64 * 3, dtype=np.uint8).reshape(2, 64, 64, 3)
    told = dataclasses.replace(example, preferences='[{"shot": 1, "why": "broken cut"}]', rejected=worse)
    write_records(tmp_path / "r", {"train": [told, example]}, records.Shape(64, 64, 2, 0), {})
    source = open_records(tmp_path / "r", "train")
    assert json.loads(source[0]["preferences"]) == [{"shot": 1, "why": "broken cut"}]
    np.testing.assert_array_equal(source[0]["rejected"], worse)
    assert source[1]["preferences"] == "[]" and source[1]["rejected"].shape == (0, 64, 64, 3)


def test_records_from_before_there_were_preferences_are_read(folder, tmp_path, monkeypatch):
    features = records._features
    monkeypatch.setattr(records, "_features", lambda *size: without(features(*size), records.LATER))
    monkeypatch.setattr(records.StageRecords, "_generate_examples", lambda self, examples, _: (
        (key, {name: getattr(example, name) for name in self.info.features}) for key, example in enumerate(examples)
    ))  # fmt: skip
    write_toy_records(tmp_path / "old", {"train": 1}, seed=10)
    monkeypatch.undo()
    old, new = open_records(tmp_path / "old", "train"), open_records(folder, "train")
    assert old[0].keys() == new[0].keys() and old[0]["truth"] == new[0]["truth"]
    assert old[0]["preferences"] == "[]" and old[0]["rejected"].shape == (0, 64, 64, 3)


def without(features, names):
    return type(features)({name: feature for name, feature in features.items() if name not in names})


@pytest.mark.parametrize("damage", ["half", "nothing", "missing", "middle", "another's"])
def test_a_damaged_file_is_named_in_one_line(folder, tmp_path, damage):
    shutil.copytree(folder, tmp_path / "r")
    (file,) = (tmp_path / "r").glob("*train.array_record*")
    data = file.read_bytes()
    if damage in ("missing", "another's"):
        file.unlink()
    if damage == "another's":
        writer = array_record_module.ArrayRecordWriter(str(file), "group_size:1")
        for _ in range(4):
            writer.write(b"words")
        writer.close()
    elif damage == "middle":
        at = len(data.rstrip(b"\0")) // 3
        file.write_bytes(data[:at] + b"\7" * 4000 + data[at + 4000 :])
    elif damage in ("half", "nothing"):
        file.write_bytes(data[: len(data) // 2] if damage == "half" else b"")
    with pytest.raises(InputError, match=r"record \d cannot be read \(.*\), expected a whole file") as caught:
        list(open_records(tmp_path / "r", "train"))
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)
    assert len(list(open_records(tmp_path / "r", "validation"))) == 2  # the other files are whole


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (None, r"field 'frames': found nothing, expected uint8 \(None, 64, 64, 3\)"),
        (np.float32, r"field 'frames': found float32 \(None, 64, 64, 3\), expected uint8"),
    ],
)
def test_another_schema_is_refused(folder, tmp_path, field, message):
    shutil.copytree(folder, tmp_path / "r")
    path = tmp_path / "r" / "features.json"
    schema = json.loads(path.read_text())
    if field is None:
        del schema["featuresDict"]["features"]["frames"]
    else:
        schema["featuresDict"]["features"]["frames"]["tensor"]["dtype"] = np.dtype(field).name
    path.write_text(json.dumps(schema))
    with pytest.raises(InputError, match=message) as caught:
        open_records(tmp_path / "r", "train")
    assert str(tmp_path / "r") in str(caught.value) and "\n" not in str(caught.value)


def test_records_of_another_size_are_no_other_pictures(folder, tmp_path):
    """A schema of half the side: four times as many pictures, by the bytes."""
    shutil.copytree(folder, tmp_path / "r")
    for name, side in (("features.json", '"{}"'), ("metadata.json", ": {}")):
        path = tmp_path / "r" / name
        text = path.read_text()
        assert side.format(64) in text
        path.write_text(text.replace(side.format(64), side.format(32)))
    with pytest.raises(InputError, match=r"record 0 of train: found \d+ pictures in frames, expected \d+"):
        open_records(tmp_path / "r", "train")[0]


def test_an_empty_split_is_neither_written_nor_read(folder, tmp_path):
    example = toy_example(world.random_story(0), clips=False)
    with pytest.raises(InputError, match=r"no example for split 'test', expected 1 or more"):
        write_records(tmp_path / "r", {"train": [example], "test": []}, records.Shape(64, 64, 2, 0), {})
    assert list(tmp_path.iterdir()) == []
    shutil.copytree(folder, tmp_path / "r")
    info = tmp_path / "r" / "dataset_info.json"
    told = json.loads(info.read_text())
    told["splits"][1]["shardLengths"] = ["0"]
    info.write_text(json.dumps(told))
    with pytest.raises(InputError, match=r"r: found no record in split 'validation', expected 1 or more") as caught:
        open_records(Path(tmp_path / "r"), "validation")
    assert "\n" not in str(caught.value)
