"""Drawn boards beside the true ones as one self-contained page, with what the probe reads otherwise in each shot."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from stage_jax.film.html import document
from stage_jax.film.markup import Markup, element
from stage_jax.film.shot_html import image

PICTURE = 256  # longest side in pixels


@dataclasses.dataclass(frozen=True, eq=False)
class ComparedShot:
    """true, drawn: the start and the end frame. faults: what is read otherwise than the story has it, a line each."""

    name: str
    caption: str
    true: UInt8[np.ndarray, "2 h w 3"]
    drawn: UInt8[np.ndarray, "2 h w 3"]
    faults: Sequence[str]


@dataclasses.dataclass(frozen=True)
class ComparedBoard:
    title: str
    shots: Sequence[ComparedShot]


def compared_page(title: str, told: str, boards: Sequence[ComparedBoard]) -> str:
    """The page. told: how the boards were made, below the title."""
    shots = [shot for board in boards for shot in board.shots]
    wrong = sum(bool(shot.faults) for shot in shots)
    counted = f"{len(boards)} boards, {len(shots)} shots; the probe reads all of {len(shots) - wrong} as the story has it."
    lead = element("header", element("h1", title), element("p", told), element("p", counted), class_="title")
    return document(title, "data.css", lead, *map(_board, boards))


def _board(board: ComparedBoard) -> Markup:
    faults = sum(bool(shot.faults) for shot in board.shots)
    said = element("span", f"{faults} of {len(board.shots)} shots with faults" if faults else "no faults", class_="mono")
    return element(
        "section",
        element("header", element("h2", board.title), said),
        element("div", *map(_shot, board.shots), class_="shots"),
        class_="scene",
    )


def _shot(shot: ComparedShot) -> Markup:
    frames = [
        element("figure", image(picture, PICTURE, f"{shot.name}, {way} {which}"), element("figcaption", f"{way}, {which}"))
        for way, pair in (("true", shot.true), ("drawn", shot.drawn))
        for picture, which in zip(pair, ("start", "end"), strict=True)
    ]
    return element(
        "article",
        element("header", element("h3", shot.name)),
        element("div", *frames, class_="strip"),
        element("p", shot.caption, class_="caption"),
        *(element("p", fault, class_="why") for fault in shot.faults),
        class_="shot",
    )
