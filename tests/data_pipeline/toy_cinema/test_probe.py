"""The probe reads pictures, not what it is told; spoiled pictures too."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from data_pipeline.toy_cinema import probe, render, scores, world

STORIES = [world.random_story(seed, split="test") for seed in range(16)]
READ = ("colour", "shape", "hat", "place")


def soft_and_noisy(pictures: np.ndarray) -> np.ndarray:
    """A Gaussian blur of 1 pixel, then noise of 12 grey values."""
    taps = np.exp(-(np.arange(-3, 4) ** 2) / 2)
    taps /= taps.sum()
    soft = pictures.astype(np.float32)
    for axis in (2, 3):
        padded = np.pad(soft, [(3, 3) if a == axis else (0, 0) for a in range(5)], mode="edge")
        soft = sum(t * np.take(padded, np.arange(i, i + 64), axis) for i, t in enumerate(taps))
    noise = np.random.default_rng(0).normal(size=soft.shape) * 12
    return np.clip(soft + noise, 0, 255).round().astype(np.uint8)


def test_ceiling_on_true_pictures():
    score = scores.ceiling(STORIES)
    assert all(score[name].value >= 0.99 for name in READ)
    assert score[scores.POSITION].value <= 0.05
    assert score["colour"].chance == pytest.approx(1 / 6)
    assert score["place"].n == 2 * sum(len(story.shots) for story in STORIES)


def test_ceiling_on_soft_and_noisy_pictures():
    score = scores.ceiling(STORIES, soft_and_noisy)
    assert all(score[name].value >= 0.95 for name in READ)
    assert score[scores.POSITION].value <= 0.5


def test_pictures_of_another_story_read_at_chance():
    rng = np.random.default_rng(5)
    found = []
    for story in STORIES:
        looks = [
            dataclasses.replace(
                who, **{a: str(rng.choice(getattr(world.EASY, f"{a}s"))) for a in ("colour", "shape", "hat")}
            )
            for who in story.characters
        ]
        places = [dataclasses.replace(p, kind=str(rng.choice(world.EASY.places))) for p in story.places]
        other = dataclasses.replace(story, characters=tuple(looks), places=tuple(places))
        pictures = scores.true_pairs(other)
        assert all(s.value == 1 for a, s in scores.summary(scores.story_outcomes(other, pictures)).items() if a in READ)
        found += scores.story_outcomes(story, pictures)
    for name, score in scores.summary(found).items():
        if name in READ:
            assert abs(score.value - score.chance) < 0.2


@pytest.mark.parametrize("shift", [(-8, 0), (9.5, -6.5), (5, -11)])
def test_displaced_figures_are_found_and_measured(shift):
    story = next(s for s in STORIES if s.shots[0].size == world.WIDE)
    spec = render.scene_spec(story, 0, 0.0)
    moved = dataclasses.replace(spec.figures[0], x=32.0 + shift[0], y=spec.figures[0].y + shift[1])
    centred = dataclasses.replace(story.shots[0], x=(32.0,))
    expected = dataclasses.replace(story, shots=(centred, *story.shots[1:]))
    picture = render.render(dataclasses.replace(spec, figures=(moved,)))
    reading = probe.read_frame(picture, expected, 0, "start")
    (figure,) = reading.figures
    assert (figure.x, figure.y) == (moved.x, moved.y)
    assert (figure.shape, figure.colour, figure.hat) == (moved.shape, moved.colour, moved.hat)
    outcome = next(o for o in scores.outcomes(expected, 0, "start", reading) if o.attribute == scores.POSITION)
    assert outcome.error == pytest.approx(np.hypot(*shift))


def test_larger_pictures_and_inner_frames_are_read():
    story = STORIES[1]
    for i in range(len(story.shots)):
        reading = probe.read_frame(render.render_frame(story, i, 0.5, 192), story, i, 0.5)
        assert all(not o.error for o in scores.outcomes(story, i, 0.5, reading) if o.attribute in READ)


def test_actions_are_read_from_the_pair():
    for story in STORIES[:10]:
        readings = probe.read_story(scores.true_pairs(story), story)
        assert [probe.read_action(start, end) for start, end in readings] == [shot.action for shot in story.shots]


def test_recalled_outcomes_are_those_the_caption_does_not_tell():
    story = next(s for s in STORIES if len(s.shots) == 6)
    found = scores.story_outcomes(story, scores.true_pairs(story))
    first = [o for o in found if o.shot == 0 and o.attribute in READ]
    assert first and not any(o.recalled for o in first)
    told = {(o.attribute, o.name) for o in found if not o.recalled}
    assert len(told) == 3 * len(story.characters) + len(story.places)
