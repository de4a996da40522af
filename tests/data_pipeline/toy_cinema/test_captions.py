"""Captions describe what is new and name what is known, in words that the tiny models have."""

from __future__ import annotations

from data_pipeline.toy_cinema import captions, world

STORIES = [world.random_story(seed, split=split) for split in world.SPLITS for seed in range(150)]


def test_every_caption_is_short_and_in_the_vocabulary():
    for story in STORIES:
        for caption in captions.story_captions(story):
            assert captions.unknown_words(caption) == ()
            assert 5 <= len(captions.words(caption)) <= captions.MAX_WORDS


def test_looks_are_told_once_and_names_every_time():
    for story in STORIES:
        lines = captions.story_captions(story)
        seen_people, seen_places = set(), set()
        for shot, line in zip(story.shots, lines, strict=True):
            for i, who in enumerate(story.characters):
                told = captions.character_words(who) in line
                assert told == (i in shot.characters and i not in seen_people)
                assert (who.name in captions.words(line)) == (i in shot.characters)
            for j, place in enumerate(story.places):
                assert (place.name in line) == (j == shot.place)
                assert (captions.place_words(place.kind) in line) == (j == shot.place and j not in seen_places)
            if set(shot.characters) <= seen_people and shot.place in seen_places:
                attributes = {*world.EASY.colours, *world.EASY.shapes, *world.EASY.hats}
                assert attributes.isdisjoint(captions.words(line))
            seen_people |= set(shot.characters)
            seen_places.add(shot.place)


def test_sentences_vary_with_the_seed_and_stay_for_one():
    assert captions.story_captions(STORIES[0]) == captions.story_captions(STORIES[0])
    openings = {" ".join(captions.story_captions(story)[0].split()[:3]) for story in STORIES}
    assert len(openings) >= 4


def test_prose_leads_back_to_the_caption():
    for story in STORIES[:50]:
        for caption in captions.story_captions(story):
            assert " ".join(captions.words(captions.prose(caption))) == caption
    assert captions.prose("wide shot . at elm hill , mia jumps .") == "Wide shot. At Elm Hill, Mia jumps."


def test_people_may_write_capitals_and_quotes():
    assert captions.words("Mia\u2019s hat \u2014 RED!") == ["mia", "'", "s", "hat", "-", "red", "!"]


def test_vocabulary_is_closed_and_starts_with_the_marks():
    vocabulary = captions.vocabulary()
    assert vocabulary[:2] == (captions.PAD, captions.END)
    assert list(vocabulary[2:]) == sorted(set(vocabulary[2:]))
    assert {"the", ",", ".", "elm", "crown", "mia"} <= set(vocabulary)
    assert len(vocabulary) < 200


def test_unknown_words_are_named_once_with_near_ones():
    assert captions.unknown_words("A dragon, a DRAGON and mia with a crwn.") == ("dragon", "crwn")
    assert "crown" in captions.nearest("crwn")
    assert captions.nearest("zzzz") == ()
