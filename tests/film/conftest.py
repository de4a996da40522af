from __future__ import annotations

import pytest

from stage_jax.story.board import Board
from tests.film.boards import make_board


@pytest.fixture
def board() -> Board:
    return make_board()
