"""Captions of level full: looks are told once, two in a picture keep a visible cue, what goes on is not spelled out."""

from __future__ import annotations

import re

from data_pipeline.toy_cinema.captions import character_words, words
from data_pipeline.toy_cinema.full import captions, stories, world

STORIES = [stories.random_story(seed, split) for split in ("train", "test") for seed in range(50)]
LOOKS = {*world.COLOURS, *world.HATS}


def test_captions_are_short_and_in_the_vocabulary():
    known = set(captions.vocabulary())
    assert len(known) == len(captions.vocabulary()) < 250
    for story in STORIES:
        for caption in captions.story_captions(story):
            assert 5 <= len(words(caption)) <= captions.MAX_WORDS and set(words(caption)) <= known


def test_looks_are_told_once_and_afterwards_only_the_shape_of_two():
    pairs = 0
    for story in STORIES:
        met, visited = set(), set()
        for shot, caption in zip(story.shots, captions.story_captions(story), strict=True):
            told = set(words(caption))
            for i, who in enumerate(story.characters):
                assert (who.name in told) == (i in shot.characters)
                assert (character_words(who) in caption) == (i in shot.characters and i not in met)
                if len(shot.characters) == 2 and i in shot.characters:
                    assert f"{who.name} the {who.shape}" in caption
                    pairs += 1
            if set(shot.characters) <= met:
                assert not told & LOOKS
                assert len(shot.characters) == 2 or not told & set(world.SHAPES)
            for j, place in enumerate(story.places):
                assert (captions.place_words(place) in caption) == (j == shot.place and j not in visited)
            met |= set(shot.characters)
            visited.add(shot.place)
    assert pairs > 50


def test_what_goes_on_leaves_its_way_to_memory():
    ways = re.compile(r"\b(walks|jumps|lands|comes down|falls)\b")
    going = [
        caption
        for story in STORIES
        for shot, caption in zip(story.shots, captions.story_captions(story), strict=True)
        if shot.goes_on
    ]
    assert len(going) > 30 and not any(ways.search(caption) for caption in going)


def test_camera_moves_are_told():
    for story in STORIES:
        for shot, caption in zip(story.shots, captions.story_captions(story), strict=True):
            verb, _, way = shot.camera.partition(" ")
            assert (re.search(rf"\b{verb}s? {way} \.$", caption) is not None) == (shot.camera != world.STATIC)


def test_prose_leads_back():
    for story in STORIES[:20]:
        for caption in captions.story_captions(story):
            assert " ".join(words(captions.prose(caption))) == caption
