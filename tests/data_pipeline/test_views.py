"""Views of a film: which frames they show, through which window, in which order, and what of the film they leave out."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from data_pipeline.clips import read_clip
from data_pipeline.ingest.shots import Bars, ShotRecord
from data_pipeline.records import open_records, open_splits
from data_pipeline.views import View, Window, draw_views, read_views, view_story, write_views
from stage_jax.errors import InputError
from stage_jax.story.pictures import fit_picture
from stage_jax.story.readers import read_story
from stage_jax.story.types import story_from_json

FILM = Path(__file__).parents[1] / "data" / "big_buck_bunny_160x90.mp4"
STORY = Path(__file__).parents[2] / "stage_jax" / "assets" / "bunny.json"
TAKEN = ((50, 280), (285, 373), (378, 548), (553, 717))  # the frames that ingest takes of its four shots
SIZE, FRAMES, RATE = (16, 16), 5, 24


def shot(number: int) -> ShotRecord:
    start, end = TAKEN[number]
    return ShotRecord(
        film=FILM.name, index=number, story=1, name=f"SC01_SH{10 * number + 10:03d}", first_frame=start - 2, last_frame=end + 2,
        seconds=(end + 5 - start) / RATE, start_frame=start, end_frame=end, interior_frames=(), transition="cut", camera=None,
        bars=Bars(), brightness=90.0, sharpness=9.0, motion=0.1, kept=True, reason="", start_seconds=start / RATE,
        end_seconds=end / RATE,
    )  # fmt: skip


SHOTS = [shot(number) for number in range(4)]


def test_the_first_view_is_the_film_and_the_others_are_near_it():
    first, *others = draw_views(3, 40, 0)
    assert first == View((0, 1, 2), ((0.0, 1.0),) * 3, Window(1.0, 0.5, 0.5))
    assert {view.order for view in others} == {(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)}
    begins, ends = np.array([view.spans for view in others]).reshape(-1, 2).T
    assert 0 <= begins.min() < 0.05 and 0.2 < begins.max() <= 0.25 and 0.75 <= ends.min() < 0.8 and 0.95 < ends.max() <= 1
    assert all(0.8 <= view.window.scale <= 1 and 0.25 <= view.window.x <= 0.75 for view in others)
    assert draw_views(3, 40, 0) == [first, *others] and draw_views(3, 40, 1)[1:] != others


def test_a_window_is_a_part_of_the_picture():
    """A ramp from left to right: what is cut off, and where the middle stands, is read off its values."""
    ramp = np.broadcast_to(np.arange(200, dtype=np.uint8)[None, :, None], (100, 200, 3)).copy()
    np.testing.assert_array_equal(Window().of(ramp, (20, 20)), fit_picture(ramp, (20, 20)))
    left, right = Window(0.5, 0.0).of(ramp, (20, 20)), Window(0.5, 1.0).of(ramp, (20, 20))
    assert abs(left.mean() - 24.5) < 1 and abs(right.mean() - 174.5) < 1  # 50 of 200 columns, at either end
    assert left.shape == (20, 20, 3) and np.ptp(left.astype(int)) < 50
    tall = ramp.transpose(1, 0, 2).copy()
    assert abs(Window(0.5, 0.5, 1.0).of(tall, (20, 20)).mean() - 174.5) < 1


def test_views_show_the_frames_of_their_spans():
    """Read together in one pass they are what each clip alone is."""
    views = [View((0, 1), ((0.0, 1.0), (0.0, 1.0))), View((1, 0), ((0.2, 0.8), (0.1, 0.9)))]
    found = read_views(FILM, SHOTS[1:3], views, FRAMES, SIZE)
    assert found.shape == (2, 2, FRAMES, *SIZE, 3)
    for view, clips in zip(views, found, strict=True):
        for record, (begin, end), clip in zip(SHOTS[1:3], view.spans, clips, strict=True):
            length = record.end_seconds - record.start_seconds
            times = tuple(record.start_seconds + length * (begin + (end - begin) * k / (FRAMES - 1)) for k in range(FRAMES))
            np.testing.assert_array_equal(clip, read_clip(FILM, times, Bars(), SIZE))
    assert np.abs(found[0].astype(int) - found[1]).max() > 20


def test_records_hold_the_shots_in_the_order_of_each_view_and_no_other_shot(tmp_path: Path):
    whole = read_story(STORY)
    seen = dataclasses.replace(whole, scenes=(dataclasses.replace(whole.scenes[0], shots=whole.scenes[0].shots[:3]),))
    write_views(FILM, seen, SHOTS[:3], tmp_path / "records", count=3, frames=FRAMES, size=SIZE, seed=0)
    assert list(open_splits(tmp_path / "records")) == ["train"]
    clips = read_views(FILM, SHOTS[:3], draw_views(3, 3, 0), FRAMES, SIZE)
    texts = [shot.description for _, shot in whole.shots()]
    orders = [view.order for view in draw_views(3, 3, 0)]
    assert len(set(orders)) > 1
    for record, order, found in zip(open_records(tmp_path / "records", "train"), orders, clips, strict=True):
        told = [shot.description for _, shot in story_from_json(json.loads(record["story"]), "record").shots()]
        assert told == [texts[i] for i in order] and texts[3] not in record["story"]
        expected = found[list(order)]
        np.testing.assert_array_equal(record["clips"].reshape(expected.shape), expected)
        frames = record["frames"].reshape(3, 4, *SIZE, 3)
        np.testing.assert_array_equal(frames[:, :2], expected[:, [0, -1]])  # of each shot, start and end
        np.testing.assert_array_equal(frames[:, 2:], expected[:, [1, 3]])
    with pytest.raises(InputError, match="found the shots SC01_SH010, SC01_SH020, expected SC01_SH010, SC01_SH020, SC01_SH030"):
        write_views(FILM, seen, SHOTS[:2], tmp_path / "others", count=1, frames=FRAMES, size=SIZE)
    assert not (tmp_path / "others").exists()


def test_another_order_keeps_what_is_said_of_a_shot():
    story = read_story(STORY)
    turned = view_story(story, (3, 0, 2, 1))
    before, after = list(story.shots()), list(turned.shots())
    assert [shot for _, shot in after] == [before[i][1] for i in (3, 0, 2, 1)]
    assert [scene.location for scene, _ in after] == [before[i][0].location for i in (3, 0, 2, 1)]
    assert [scene.id for scene in turned.scenes] == ["SC01", "SC02", "SC03", "SC04"]
