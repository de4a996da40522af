"""What comes of models that were fine-tuned on all shots of a film but the last: tables of figures, two sheets of pictures."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import UInt8

from stage_jax.evaluation.figures import Figure
from stage_jax.evaluation.nearness import Pairs, clip_figures, pair_figures, ways_table
from stage_jax.evaluation.next_shot import DRAWN, Artist, FilmShots, clip_ways, pair_ways, seen_ways
from stage_jax.evaluation.sheets import frame_rows
from stage_jax.evaluation.vae import still_reconstructions

SHOWN = 4  # draws of a pair in a picture, and clips that are made
WIDE = 22  # letters of a line beside a row


@dataclasses.dataclass(frozen=True, eq=False)
class NextShot:
    """tables: by title. pairs, clips: sheets of rows."""

    tables: Mapping[str, Sequence[Figure]]
    pairs: UInt8[np.ndarray, "H W 3"]
    clips: UInt8[np.ndarray, "h w 3"]

    def markdown(self) -> str:
        return "\n".join(f"{title}:\n\n{ways_table(figures)}" for title, figures in self.tables.items())


def report_next_shot(tuned: Artist, shipped: Artist, film: FilmShots, names: Sequence[str], draws: int) -> NextShot:
    """names: of the film's shots. draws: pairs of each shot and way, with seeds from 0. shipped: what `tuned` was made of."""
    last, seeds = len(names) - 1, range(draws)
    name, earlier = names[last], film.earlier(last)
    pairs = pair_ways(tuned, shipped, film, last, seeds)
    seen = {names[shot]: seen_ways(tuned, film, shot, seeds) for shot in range(last)}
    filled = clip_ways(tuned, shipped, film, last, pairs[DRAWN][0], seeds[:SHOWN])
    tables = {f"The pair of {name}, not seen in training": pair_figures("pair", pairs, film.pairs[last])}
    for shot, (other, ways) in enumerate(seen.items()):
        tables[f"The pair of {other}, seen in training"] = pair_figures(f"pair of {other}, seen", ways, film.pairs[shot])
    tables[f"The clip of {name}, not seen in training"] = clip_figures("clip", filled, film.clips[last])
    before = [
        ("seen shots\ntrue", earlier),
        ("seen shots\nVAE", still_reconstructions(tuned.models.codec, earlier)),
        ("seen shots\nshipped VAE", still_reconstructions(shipped.models.codec, earlier)),
        *((f"{other}, seen\n{DRAWN}", _first(ways[DRAWN])) for other, ways in seen.items()),
    ]
    drawn = [(f"{name}\ntrue", film.pairs[last]), *((_lines(way), _first(made)) for way, made in pairs.items())]
    clips = [(f"{name}\ntrue clip", film.clips[last][::2]), *((_lines(way), made[0][::2]) for way, made in filled.items())]
    return NextShot(tables, frame_rows([*before, *drawn]), frame_rows(clips))


def _first(pairs: Pairs) -> UInt8[np.ndarray, "frames h w 3"]:
    """The first pairs, start and end side by side."""
    return pairs[:SHOWN].reshape(-1, *pairs.shape[2:])


def _lines(words: str) -> str:
    return textwrap.fill(words, WIDE, break_on_hyphens=False, break_long_words=False)
