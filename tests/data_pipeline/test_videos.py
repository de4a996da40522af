"""Examples for Wan's tasks: which arrays of the caches belong together."""

from __future__ import annotations

import numpy as np

from data_pipeline.cache import ImageTokens, Latents, Texts
from data_pipeline.videos import VideoSource, video_examples

SHOTS = 3


def numbered(*shape: int) -> np.ndarray:
    """Shots that hold their number, entries of a shot a half apart."""
    shots = np.arange(SHOTS, dtype=np.float16).reshape(-1, *(1,) * len(shape))
    return np.broadcast_to(shots, (SHOTS, *shape)).copy()


def source(form: str) -> VideoSource:
    clips = numbered(2, 16, 2, 2, 2)
    clips[:, 1] += 0.5
    captions = np.concatenate([numbered(4, 8), np.full((1, 4, 8), -1, np.float16)])
    tokens = numbered(2, 5, 6)
    tokens[:, 1] += 0.5
    return VideoSource(
        clips=Latents((), (), clips),
        captions=Texts(captions, np.ones((SHOTS + 1, 4), np.int32)),
        last=form == "flf2v",
        condition=Latents((), (), numbered(1, 16, 2, 2, 2) + np.float16(0.25)) if form == "i2v" else None,
        image=ImageTokens(tokens) if form != "t2v" else None,
    )


def test_what_belongs_to_a_shot():
    for form, condition, rows in (("t2v", None, 0), ("i2v", 0.25, 5), ("flf2v", 0.5, 10)):
        for shot in range(SHOTS):
            example = source(form).example(shot, drop_caption=False)
            assert (example["clip"] == shot).all() and example["clip"].shape == (16, 2, 2, 2)
            assert (example["caption"] == shot).all() and example["caption"].dtype == np.float16
            if condition is None:
                assert set(example) == {"clip", "caption"}
                continue
            assert (example["condition"] == shot + condition).all()
            assert example["image"].shape == (rows, 6) and (example["image"][:5] == shot).all()
            assert (example["image"][5:] == shot + 0.5).all()
        assert (source(form).example(1, drop_caption=True)["caption"] == -1).all()


def test_examples_are_all_shots_in_a_new_order_every_epoch():
    for dropout, dropped in ((0.0, 0), (1.0, 2 * SHOTS)):
        videos = video_examples(source("t2v"), dropout, seed=0)
        found = [videos[i] for i in range(2 * SHOTS)]
        shots = [int(example["clip"].flat[0]) for example in found]
        assert sorted(shots[:SHOTS]) == sorted(shots[SHOTS:]) == list(range(SHOTS))
        assert sum(example["caption"].flat[0] == -1 for example in found) == dropped
