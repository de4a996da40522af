"""One shot of the page: its pair and its clip, its words, how it was made, and what the memory saw."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
from jaxtyping import UInt8

from stage_jax.film.markup import Markup, element
from stage_jax.film.png import fit, png_bytes
from stage_jax.film.timecode import timecode
from stage_jax.story.board import Board, BoardShot, Candidate, MemoryEntry

# Longest sides in pixels: the full pictures lie beside the page in frames/, and a long story must stay one page.
PICTURE, POSTER, CANDIDATE, REMEMBERED = 960, 480, 240, 96
FEW = 128  # pixels a side of pictures that would only blur where the page enlarges them
Pictures: TypeAlias = Mapping[tuple[str, str | int], UInt8[np.ndarray, "H W 3"]]
"""What a memory can hold, as `Board.pictures` has it."""


def shot_article(
    board: Board, shot: BoardShot, span: tuple[int, int], pictures: Pictures, digest: str, clip: bytes | None
) -> Markup:
    """The shot's article, with its name as id. span: its first frame on the film, and the first after it. pictures: of the
    board, for the memory. digest: its content hash. clip: its mp4 file, if it has one."""
    begin, end = span
    source = {"given": "given", "kept": "kept as it was"}.get(shot.source, f"drawn by {shot.source}")
    marks = [source, *(f"{which} given" for which in shot.given)]
    marks += ["locked"] * shot.shot.locked + ["no cut before"] * (not shot.shot.cut)
    time = f"{timecode(begin, board.fps)} – {timecode(end, board.fps)} ({(end - begin) / board.fps:.2f} s)"
    shown = [
        element(
            "div",
            _frame(shot, "start"),
            element("span", "→", class_="arrow", aria_hidden="true"),
            _frame(shot, "end"),
            class_="pair",
        )
    ]
    if clip is not None:
        moving = video(clip, shot.pair.start, f"{shot.name}, clip")
        shown.append(element("figure", moving, element("figcaption", f"clip, {end - begin} frames"), class_="clip"))
    return element(
        "article",
        element(
            "header",
            element("h3", shot.name),
            element("span", " · ".join(marks), class_="source"),
            element("span", time, class_="mono"),
        ),
        element("div", *shown, class_="pictures moving" if clip is not None else "pictures"),
        *_candidates(shot),
        element(
            "div",
            element(
                "div",
                element("p", shot.caption, class_="caption"),
                *optional("p", shot.shot.dialogue, "dialogue"),
                *optional("p", shot.shot.notes, "notes"),
            ),
            _facts(board, shot, digest),
            _memory(board, shot.memory, pictures),
            class_="told",
        ),
        class_="shot",
        id=shot.name,
    )


def image(picture: UInt8[np.ndarray, "H W 3"], longest: int, alt: str, style: str = "") -> Markup:
    """A picture inside the page, its longer side at most `longest` pixels."""
    shown = fit(picture, longest)
    height, width = shown.shape[:2]
    return element(
        "img", src=_source(shown), alt=alt, width=str(width), height=str(height), style=style or False, class_=_few(picture)
    )


def _source(picture: UInt8[np.ndarray, "H W 3"]) -> str:
    return "data:image/png;base64," + base64.b64encode(png_bytes(picture)).decode("ascii")


def _few(picture: UInt8[np.ndarray, "H W 3"]) -> str | bool:
    """The class of pictures of so few pixels that they are shown as squares."""
    return "few" if max(picture.shape[:2]) <= FEW else False


def video(mp4: bytes, poster: UInt8[np.ndarray, "H W 3"], says: str) -> Markup:
    """A film inside the page, which waits to be played. poster: shown until then. says: what it is, for those who do not
    see it."""
    source = "data:video/mp4;base64," + base64.b64encode(mp4).decode("ascii")
    return element(
        "video", src=source, poster=_source(fit(poster, POSTER)), controls=True, loop=True, muted=True, playsinline=True,
        aria_label=says, class_=_few(poster),
    )  # fmt: skip


def optional(name: str, value: str, class_: str) -> tuple[Markup, ...]:
    """The element, or nothing where the story says nothing."""
    return (element(name, value, class_=class_),) if value else ()


def _frame(shot: BoardShot, which: str) -> Markup:
    picture = image(getattr(shot.pair, which), PICTURE, f"{shot.name}, {which} frame")
    return element("figure", picture, element("figcaption", which))


def _candidates(shot: BoardShot) -> tuple[Markup, ...]:
    """The pairs that were drawn for the shot, small, each with what it takes to choose it; nothing where there is one."""
    if not shot.candidates:
        return ()
    items = (_candidate(shot, other) for other in shot.candidates)
    return (element("section", element("h4", "Candidates"), element("ol", *items), class_="candidates"),)


def _candidate(shot: BoardShot, other: Candidate) -> Markup:
    taken = other.number == shot.take
    frames = [
        image(getattr(other.pair, which), CANDIDATE, f"{shot.name}, candidate {other.number}, {which} frame")
        for which in ("start", "end")
    ]
    chosen = element("span", "taken", class_="taken") if taken else element("code", f"--take {shot.name}={other.number}")
    return element(
        "li",
        element("div", *frames, class_="frames"),
        element("div", element("b", str(other.number)), " ", chosen),
        element("div", f"seed {other.seed}", class_="seed"),
        class_="candidate chosen" if taken else "candidate",
    )


def _facts(board: Board, shot: BoardShot, digest: str) -> Markup:
    """Attributes, prompts, seed and content hash, as far as there are any."""
    people = {character.id: character.name for character in board.story.characters}
    told = {
        "Size": shot.shot.size,
        "Angle": shot.shot.angle,
        "Movement": shot.shot.movement,
        "Characters": ", ".join(people.get(name, name) for name in shot.shot.characters),
        "Transition": shot.shot.transition,
        "Start frame": shot.shot.start.prompt,
        "End frame": shot.shot.end.prompt,
        "Clip": shot.shot.video_prompt,
        "Seed": str(shot.seed),
    }
    rows = [part for name, value in told.items() if value for part in (element("dt", name), element("dd", value))]
    content = (element("dt", "Content"), element("dd", digest[:12], class_="mono", title=digest))
    return element("dl", *rows, *content, class_="table")


def _memory(board: Board, entries: tuple[MemoryEntry, ...], pictures: Pictures) -> Markup:
    """What the model saw for this shot, each picture as large as its share of the tokens."""
    items = []
    for entry in entries:
        side = f"--side: {min(1.0, max(0.0, float(entry.area))) ** 0.5:.4f}"
        name, picture = _named(board, entry), pictures.get(entry.key)
        alt = name if entry.which == "reference" else f"{entry.shot}, {entry.which} frame"
        items.append(
            element(
                "li",
                *(() if picture is None else (image(picture, REMEMBERED, alt, side),)),
                element("div", name),
                element("div", f"rank {entry.rank}, score {entry.score:.2f}", class_="number"),
                element("div", f"{entry.tokens} tokens, {entry.area:.0%} of a frame", class_="number"),
                element("div", entry.why, class_="why"),
            )
        )
    seen = element("ol", *items) if items else element("p", "Nothing: no earlier frame was shown.", class_="none")
    return element("section", element("h4", "What the memory saw"), seen, class_="memory")


def _named(board: Board, entry: MemoryEntry) -> str:
    """A shot's frame, or a reference of a character, by its number where there are several."""
    if entry.which != "reference":
        return f"{entry.shot} {entry.which}"
    who = next((who for who in board.story.characters if who.id == entry.character), None)
    several = who is not None and len(who.references) > 1
    return f"reference{f' {entry.number}' if several else ''} of {who.name if who and who.name else entry.character}"
