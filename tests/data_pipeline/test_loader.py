"""Batches are a pure function of (records, seed, step)."""

from __future__ import annotations

import grain
import numpy as np
import pytest

from data_pipeline.loader import clip_windows, examples, mirrored, stills

LENGTH, STORIES = 6, 5


class Records:
    """Stories whose every pixel says which: 10 * story + frame in the first column, zero elsewhere."""

    def __len__(self) -> int:
        return STORIES

    def __getitem__(self, index: int) -> dict:
        shots = 1 + index % 3

        def pictures(count: int) -> np.ndarray:
            frames = np.zeros((count, 2, 3, 3), np.uint8)
            frames[:, :, 0] = (40 * index + np.arange(count))[:, None, None]
            return frames

        return {"shots": shots, "frames": pictures(4 * shots), "clips": pictures(LENGTH * shots)}


def pipeline(seed: int) -> grain.MapDataset:
    parts = [clip_windows(Records(), 3, seed).batch(2), stills(Records(), seed + 1).batch(4)]
    return grain.MapDataset.mix(parts, weights=[0.5, 0.5])


@pytest.mark.smoke
def test_same_seed_same_batches():
    a, b, other = pipeline(0), pipeline(0), pipeline(1)
    for i in (0, 1, 7, 1000):
        np.testing.assert_array_equal(a[i], b[i])
    assert any(a[i].shape != other[i].shape or (a[i] != other[i]).any() for i in range(8))
    stream = iter(pipeline(0).to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=3)))
    for i in range(8):
        np.testing.assert_array_equal(next(stream), a[i])


def test_a_stream_goes_on_where_its_state_stood():
    first = iter(pipeline(0).to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=3)))
    for _ in range(5):
        next(first)
    state, expected = first.get_state(), [next(first) for _ in range(6)]
    second = iter(pipeline(0).to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=1)))
    second.set_state(state)
    for batch in expected:
        np.testing.assert_array_equal(next(second), batch)


def test_every_epoch_has_all_records_in_another_order_with_other_draws():
    drawn = examples(Records(), 0, lambda record, rng: (int(record["frames"][0, 0, 0, 0]), int(rng.integers(1 << 30))))
    epochs = [[drawn[i] for i in range(e * STORIES, (e + 1) * STORIES)] for e in range(4)]
    orders = [tuple(story for story, _ in epoch) for epoch in epochs]
    assert all(sorted(order) == [0, 40, 80, 120, 160] for order in orders) and len(set(orders)) > 1
    assert len({number for epoch in epochs for _, number in epoch}) == 4 * STORIES


def test_windows_stay_inside_one_shot():
    windows = clip_windows(Records(), 3, 0)
    starts, flips = set(), set()
    for i in range(200):
        window = windows[i]
        assert window.shape == (3, 2, 3, 3) and window.flags["C_CONTIGUOUS"]
        flip = not window[:, :, 0].any() if window.any() else None
        flips.add(flip)
        column = window[:, 0, 2 if flip else 0, 0]
        first = int(column[0]) % 40
        assert (np.diff(column.astype(int)) == 1).all() and first % LENGTH + 3 <= LENGTH
        starts.add(first % LENGTH)
    assert starts == {0, 1, 2, 3} and {True, False} <= flips


def test_a_window_may_be_the_whole_clip():
    assert clip_windows(Records(), LENGTH, 0)[0].shape[0] == LENGTH


def test_stills_are_clips_of_one():
    picked = {int(stills(Records(), 0)[i].max()) for i in range(300)}
    assert stills(Records(), 0)[0].shape == (1, 2, 3, 3)
    assert len(picked) == sum(4 * (1 + i % 3) for i in range(STORIES))  # every kept frame comes up


def test_mirrored_half_of_the_time():
    picture, rng = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3), np.random.default_rng(0)
    flips = [not np.array_equal(mirrored(picture, rng), picture) for _ in range(400)]
    assert 150 < sum(flips) < 250
