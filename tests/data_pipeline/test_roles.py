"""Boards with role references: the reference is of the right role and never of a shot on the board."""

from __future__ import annotations

import numpy as np
import pytest

from data_pipeline.cache import Latents
from data_pipeline.roles import RoleSource, role_examples
from data_pipeline.shots import ShotSource
from stage_jax.models.tokenizer import WordTokenizer
from stage_jax.story.types import Character, Scene, Shot, Story

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
