"""Boards with role references: of the right role and never of a shot on the board; masks are those of the records."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from data_pipeline.cache import Latents
from data_pipeline.records import open_records
from data_pipeline.roles import RoleSource, role_examples
from data_pipeline.shots import ShotSource
from data_pipeline.toy_cinema.full.captions import vocabulary
from data_pipeline.toy_records import write_toy_records
from stage_jax.models.tokenizer import WordTokenizer
from stage_jax.story.types import Character, Scene, Shot, Story, story_from_json

WORDS, KEEP = ("shot",), {"caption": 0.0, "references": 0.0}


def story(looks: dict[str, str], cast: list[str]) -> Story:
    characters = tuple(Character(name, name.title(), look) for name, look in looks.items())
    shots = tuple(Shot(f"SH{i}", "shot", characters=tuple(who)) for i, who in enumerate(cast))
    return Story("t", characters=characters, scenes=(Scene("SC01", shots=shots),))


@pytest.fixture
def roles() -> RoleSource:
    """Rows 0-2, 3-6, 7: the look `red` is seen alone in rows 0 and 3, `blue` in 2 and 4, `green` in 5 and 6, `grey` in 7; the
    second frame of a shot is half more."""
    stories = (
        story({"a": "red", "b": "blue"}, ["a", "ab", "b"]),
        story({"x": " Red ", "y": "blue", "z": "green"}, ["x", "y", "z", "z"]),
        story({"q": "grey"}, ["q"]),
    )
    latents = np.float16(np.arange(8)[:, None] + (0, 0.5))[:, :, None, None, None]
    return RoleSource(ShotSource(Latents(stories, (0, 3, 7), latents), WordTokenizer(WORDS, 2)))


def boards(roles: RoleSource, shots: int = 2, references: int = 2, dropout: dict[str, float] = KEEP) -> list[dict]:
    dataset = role_examples(roles, shots, references, dropout, seed=0)
    return [dataset[i] for i in range(160)]


LOOK = {0: "red", 3: "red", 2: "blue", 4: "blue", 5: "green", 6: "green", 7: "grey"}
SHOWN = {0: ["red"], 1: ["red", "blue"], 2: ["blue"], 3: ["red"], 4: ["blue"], 5: ["green"], 6: ["green"], 7: ["grey"]}


def test_references_are_of_the_roles_on_the_board_and_from_elsewhere(roles: RoleSource):
    used = set()
    for board in boards(roles):
        rows = board["frames"][board["frames_valid"]].ravel().astype(int).tolist()
        assert rows == list(range(rows[0], rows[0] + len(rows)))
        found = board["references"][board["references_valid"]].ravel()
        names = [LOOK[int(place)] for place in found]
        order = list(dict.fromkeys(look for row in rows for look in SHOWN[row]))
        assert names == [look for look in order if look in names] and not set(found.astype(int)) & set(rows)
        for column, look in enumerate(names):
            assert board["shows"][:, column].tolist() == [look in SHOWN[row] for row in rows] + [False] * (2 - len(rows))
            if look in ("red", "blue"):  # another story has them, so that it is not taken from this one
                assert (int(found[column]) < 3) != (rows[0] < 3)
        assert set(order) - set(names) <= {"green", "grey"}
        assert not board["shows"][:, len(names) :].any() and not board["references"][len(names) :].any()
        used |= set(found.tolist())
    assert used >= {0, 0.5, 2, 2.5, 3, 3.5, 4, 4.5, 6} and not used & {7, 7.5}  # nobody else has the grey one


def test_short_stories_and_small_budgets_are_padded(roles: RoleSource):
    for board in boards(roles, shots=4, references=1):
        count = int(board["frames_valid"].sum())
        assert count in (1, 3, 4) and board["frames_valid"].tolist() == [True] * count + [False] * (4 - count)
        assert board["ids"].shape == (4, 2) and board["mask"][count:].sum() == 4 - count  # the empty caption's end mark
        assert board["references"].shape[0] == 1 and not board["frames"][count:].any()


def test_dropout(roles: RoleSource):
    some = boards(roles, dropout={"caption": 0.5, "references": 0.5})
    assert 0.3 < np.mean([board["mask"][0].sum() == 1 for board in some]) < 0.7
    full = np.mean([board["references_valid"].any() for board in boards(roles)])
    assert 0.3 < np.mean([board["references_valid"].any() for board in some]) / full < 0.7


def test_the_records_own_references_and_masks_are_taken(tmp_path: Path):
    """The latents are numbers here: of reference pictures 1000 and their row. Masks are those of the records, cell by cell."""
    write_toy_records(tmp_path / "full", {"train": 2}, "full", seed=23, clips=False, size=32)
    records = open_records(tmp_path / "full", "train")
    told = tuple(story_from_json(json.loads(record["story"]), "record") for record in records)
    shots, cast = [record["shots"] for record in records], [len(story.characters) for story in told]
    assert max(cast) > 1
    pairs = np.zeros((sum(shots), 2, 1, 4, 4), np.float16)
    views = np.broadcast_to(np.float16(1000 + np.arange(sum(cast)))[:, None, None, None, None], (sum(cast), 1, 1, 4, 4))
    cache = Latents(told, (0, shots[0]), pairs)
    source = ShotSource(cache, WordTokenizer(vocabulary()[2:], 2))
    given = Latents(told, (0, shots[0]), views, characters=tuple(range(sum(cast))))
    roles = RoleSource(source, given, open_records(tmp_path / "full", "train", ("masks",)))
    for story in (0, 1):
        names = [character.id for character in told[story].characters]
        labels = records[story]["masks"].reshape(shots[story], 4, 32, 32)[:, :2]
        for i, covered in enumerate(roles.covered(story, names).swapaxes(0, 1)):
            expected = (labels == 1 + i).reshape(*labels.shape[:2], 4, 8, 4, 8).mean((3, 5))
            np.testing.assert_allclose(covered, expected, atol=1e-6)
            assert covered.max() > 0.5
    dataset = role_examples(roles, 3, 2, KEEP, seed=0)
    sizes = set()
    for board in (dataset[i] for i in range(20)):
        found = board["references"][board["references_valid"]][:, 0, 0, 0].astype(int) - 1000
        story = int(found[0] >= cast[0])  # somebody is in every shot
        assert set(found) <= set(range(story * cast[0], story * cast[0] + cast[story]))
        assert (board["reference_masks"][: len(found)] == 1).all() and not board["reference_masks"][len(found) :].any()
        for column in range(2):  # a role has a mask on just the frames that show it
            np.testing.assert_array_equal(board["masks"][:, column].any((1, 2)), board["shows"][:, column])
        sizes.add(len(found))
    assert sizes == {1, 2}
    seen = RoleSource(source, None, roles.records)  # without references: a frame of a shot, and the mask of that frame
    name = told[0].characters[0].id
    picture, mask = seen.reference(0, name, range(0), np.random.default_rng(0))
    places = [i for i, (_, shot) in enumerate(told[0].shots()) if shot.characters == (name,)]
    assert picture.shape == (1, 4, 4)
    assert any((mask == frame).all() for place in places for frame in seen.covered(0, [name])[place, 0])
