"""How much of a screenplay in the toy's words its board shows: the probe's reading of every appearance, over several seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_pipeline.toy_cinema.parse import toy_from_story
from data_pipeline.toy_cinema.scores import Outcome, story_outcomes
from stage_jax.evaluation.figures import Figure, mean_figure
from stage_jax.evaluation.held_out import Progress
from stage_jax.generate.board import draw_board
from stage_jax.generate.models import Models
from stage_jax.generate.pairs import PairSampler
from stage_jax.story.board import Board
from stage_jax.story.readers import read_story

WHATS = ("body colour", "place", "body colour and place")


def demo_figures(
    models: Models, sampler: PairSampler, path: Path, seeds: Sequence[int], progress: Progress | None = None
) -> tuple[list[Figure], list[Board]]:
    """Shares per seed and over all seeds, whose error is clustered by seed (`stories` counts seeds). Also the boards.

    InputError if the screenplay is not in the toy's words."""
    story = read_story(path)
    toy = toy_from_story(story)
    boards, found = [], {}
    for done, seed in enumerate(seeds, 1):
        board = draw_board(models, story, seed, sampler=sampler)
        pictures = np.stack([np.stack([shot.pair.start, shot.pair.end]) for shot in board.shots])
        found[seed] = appearances(story_outcomes(toy, pictures))
        boards.append(board)
        if progress:
            progress("demo", done, len(seeds))
    figures = []
    for name, chosen in (("all seeds", list(seeds)), *((f"seed {seed}", [seed]) for seed in seeds)):
        for what in WHATS:
            rows = [(right, seed) for seed in chosen for right in found[seed][what]]
            figures.append(mean_figure("demo", name, what, "share", [r for r, _ in rows], [s for _, s in rows]))
    return figures, boards


def appearances(outcomes: Sequence[Outcome]) -> dict[str, list[bool]]:
    """For every appearance of a character in a frame: whether its body colour, the place, and both read right."""
    place = {(o.shot, o.which): not o.error for o in outcomes if o.attribute == "place"}
    pairs = [(not o.error, place[o.shot, o.which]) for o in outcomes if o.attribute == "colour"]
    columns = ([colour for colour, _ in pairs], [where for _, where in pairs], [a and b for a, b in pairs])
    return dict(zip(WHATS, columns, strict=True))
