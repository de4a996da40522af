"""Batches are a pure function of (records, seed, step)."""

from __future__ import annotations

import grain
import numpy as np
import pytest

from data_pipeline.loader import WHOLE, Bucket, Examples, Share, batches, bucketed, clip_windows, mirrored, stills
from stage_jax.errors import InputError

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
    drawn = Examples(Records(), 0, lambda record, rng: (int(record["frames"][0, 0, 0, 0]), int(rng.integers(1 << 30))))
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


def numbers(count: int, seed: int = 0) -> grain.MapDataset:
    """Examples of (which of `count`, a random number)."""
    return Examples(range(count), seed, lambda item, rng: np.array([item, rng.integers(1 << 30)]))


@pytest.mark.smoke
@pytest.mark.parametrize("processes", [1, 2, 4])
def test_the_shares_of_all_processes_are_the_batches_of_one(processes: int):
    """13 examples and batches of 8, so that batches lie across epochs and the order of rows is seen."""
    whole = numbers(13).batch(8)
    shares = [batches(numbers(13), 8, Share(process, processes)) for process in range(processes)]
    for step in (0, 1, 2, 50, 16_000):
        rows = [share[step] for share in shares]
        assert {len(part) for part in rows} == {8 // processes}
        np.testing.assert_array_equal(np.concatenate(rows), whole[step])
    assert {len(share) for share in shares} == {len(whole)}


def test_a_single_record_is_enough_for_a_long_run():
    """Also beside others, and where a run goes on late."""
    parts = [batches(numbers(count), 64) for count in (1, 1000)]
    mixed = grain.MapDataset.mix(parts, weights=[0.5, 0.5])
    for dataset in (parts[0], mixed):
        stream = iter(dataset[2_000_000:].to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=1)))
        assert next(stream).shape == (64, 2)
        stream.close()


def test_rows_that_cannot_be_shared_out():
    with pytest.raises(InputError, match="a batch of 6: found 4 processes, expected a number that divides it"):
        batches(numbers(13), 6, Share(0, 4))


def bucketed_numbers(share: Share = WHOLE) -> grain.MapDataset:
    """Three times as many small examples as large ones, in batches of 4 and of 2."""
    large = Examples(range(100, 110), 1, lambda item, rng: np.full((2, 2), item))
    small = Examples(range(30), 2, lambda item, rng: np.full((1, 1), item))
    return bucketed([Bucket(small, 30, 4), Bucket(large, 10, 2)], share)


def test_a_batch_is_of_one_bucket_and_all_examples_come_up_alike():
    seen: dict[int, int] = {}
    whole = bucketed_numbers()
    for step in range(125):
        batch = whole[step]
        assert batch.shape in ((4, 1, 1), (2, 2, 2))
        for item in batch[:, 0, 0]:
            seen[int(item)] = seen.get(int(item), 0) + 1
    assert set(seen) == {*range(30), *range(100, 110)}
    assert max(seen.values()) - min(seen.values()) <= 2  # whatever bucket they are in


def test_processes_are_in_the_same_bucket_at_every_step():
    halves = [bucketed_numbers(Share(process, 2)) for process in (0, 1)]
    whole = bucketed_numbers()
    for step in range(30):
        np.testing.assert_array_equal(np.concatenate([half[step] for half in halves]), whole[step])
