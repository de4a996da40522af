"""The board as one self-contained page: every pair with its caption, seed and memory, and the film itself.

No script, nothing from outside (a Content-Security-Policy holds that), and every text of the story shows as text:
elements are made by `markup.element`, which escapes.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from importlib import resources
from typing import Any

import numpy as np
from jaxtyping import UInt8

from stage_jax.film.markup import Markup, element
from stage_jax.film.png import fit, png_bytes
from stage_jax.film.timecode import shot_spans, timecode
from stage_jax.story.board import Board, BoardShot, MemoryEntry
from stage_jax.story.types import Character, Location, Scene

POLICY = (
    "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)
# Longest sides in pixels: the full pictures lie beside the page in frames/, and a long story must stay one page.
PICTURE, THUMBNAIL = 960, 96


def board_html(board: Board, manifest: dict[str, Any], film_mp4: bytes | None = None) -> str:
    """The page. `manifest` is what `manifest.manifest` made of this board; `film_mp4` is the film's file or None.

    Times are those of the clips, or of the story's seconds while shots have none.
    """
    title = board.story.title or "Untitled"
    spans = shot_spans(board)
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"{title}: storyboard"),
        element("style", Markup(resources.files("stage_jax.film").joinpath("board.css").read_text("utf-8"))),
    )
    body = element(
        "body",
        _title(board, title, spans),
        _lead(board, film_mp4),
        element("main", *_scenes(board, spans, manifest)),
        _made(manifest),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _title(board: Board, title: str, spans: tuple[tuple[int, int], ...]) -> Markup:
    frames = spans[-1][1] if spans else 0
    facts = {
        "Running time": timecode(frames, board.fps),
        "Shots": str(len(board.shots)),
        "Scenes": str(len({shot.scene.id for shot in board.shots})),
        "Frames": f"{frames} at {board.fps:g} fps",
    }
    if board.shots:
        height, width = board.shots[0].pair.start.shape[:2]
        facts["Picture"] = f"{width} × {height}"
    return element(
        "header",
        element("p", "Storyboard", class_="eyebrow"),
        element("h1", title),
        *_optional("p", board.story.overview, "overview"),
        element(
            "dl",
            *(element("div", element("dt", name), element("dd", value)) for name, value in facts.items()),
            class_="facts",
        ),
        class_="title",
    )


def _lead(board: Board, film_mp4: bytes | None) -> Markup:
    film = Markup("")
    if film_mp4 is not None:
        source = "data:video/mp4;base64," + base64.b64encode(film_mp4).decode("ascii")
        film = element("video", src=source, controls=True, loop=True, muted=True, playsinline=True)
    cast = element(
        "div",
        _people("Characters", board.story.characters),
        _people("Locations", board.story.locations),
        class_="cast",
    )
    return element("section", film, cast, class_="lead film" if film else "lead")


def _people(heading: str, entries: Iterable[Character | Location]) -> Markup:
    rows = []
    for entry in entries:
        tag = getattr(entry, "tag", "")
        rows.append(element("dt", entry.name or entry.id, *_optional("span", tag, "tag")))
        rows.append(element("dd", entry.description))
    return element("section", element("h2", heading), element("dl", *rows)) if rows else Markup("")


def _scenes(board: Board, spans: tuple[tuple[int, int], ...], manifest: dict[str, Any]) -> Iterable[Markup]:
    """A section per scene that has shots on the board, in the board's order."""
    places = {location.id: location.name for location in board.story.locations}
    people = {character.id: character.name for character in board.story.characters}
    hashes = {entry["name"]: entry["hash"] for entry in manifest["shots"]}
    pairs = {shot.name: shot.pair for shot in board.shots}
    scenes: dict[str, tuple[Scene, list[int]]] = {}
    for index, shot in enumerate(board.shots):
        scenes.setdefault(shot.scene.id, (shot.scene, []))[1].append(index)
    for scene, indices in scenes.values():
        heading = scene.heading or places.get(scene.location, scene.location)
        cards = []
        for index in indices:
            shot = board.shots[index]
            thumbnails = [
                getattr(pairs[entry.shot], entry.which) if entry.shot in pairs else None for entry in shot.memory
            ]
            cards.append(_shot(shot, spans[index], board.fps, people, thumbnails, hashes[shot.name]))
        begin, end = spans[indices[0]][0], spans[indices[-1]][1]
        yield element(
            "section",
            element(
                "header",
                element("span", scene.id, class_="mono"),
                element("h2", heading),
                element("span", f"{timecode(begin, board.fps)} – {timecode(end, board.fps)}", class_="mono"),
            ),
            element("div", *cards, class_="shots"),
            class_="scene",
        )


def _shot(
    shot: BoardShot,
    span: tuple[int, int],
    fps: float,
    people: dict[str, str],
    thumbnails: list[UInt8[np.ndarray, "H W 3"] | None],
    digest: str,
) -> Markup:
    begin, end = span
    source = "given" if shot.source == "given" else f"drawn by {shot.source}"
    marks = [source] + ["locked"] * shot.shot.locked + ["no cut before"] * (not shot.shot.cut)
    attributes = [shot.shot.size, shot.shot.angle, shot.shot.movement, shot.shot.transition]
    attributes.append(", ".join(people.get(name, name) for name in shot.shot.characters))
    return element(
        "article",
        element(
            "header",
            element("h3", shot.name),
            element("span", " · ".join(marks), class_="source"),
            element(
                "span",
                f"{timecode(begin, fps)} – {timecode(end, fps)} ({(end - begin) / fps:.2f} s)",
                class_="mono",
            ),
        ),
        element(
            "div",
            _frame(shot, "start"),
            element("span", "→", class_="arrow", aria_hidden="true"),
            _frame(shot, "end"),
            class_="pair",
        ),
        element("p", shot.caption, class_="caption"),
        *_optional("p", shot.shot.dialogue, "dialogue"),
        *_optional("p", " · ".join(word for word in attributes if word), "attributes"),
        *_optional("p", shot.shot.notes, "notes"),
        _memory(shot.memory, thumbnails),
        element(
            "footer",
            element("span", f"seed {shot.seed}", class_="mono"),
            element("span", f"content {digest[:12]}", class_="mono", title=digest),
        ),
        class_="shot",
        id=shot.name,
    )


def _frame(shot: BoardShot, which: str) -> Markup:
    picture = fit(getattr(shot.pair, which), PICTURE)
    return element("figure", _image(picture, f"{shot.name}, {which} frame"), element("figcaption", which))


def _memory(entries: tuple[MemoryEntry, ...], thumbnails: list[UInt8[np.ndarray, "H W 3"] | None]) -> Markup:
    """The earlier frames that the model saw for this shot, each as large as its share of the tokens."""
    items = []
    for entry, picture in zip(entries, thumbnails, strict=True):
        side = f"--side: {min(1.0, max(0.0, float(entry.area))) ** 0.5:.4f}"
        items.append(
            element(
                "li",
                Markup("")
                if picture is None
                else _image(fit(picture, THUMBNAIL), f"{entry.shot}, {entry.which} frame", side),
                element("div", f"{entry.shot} {entry.which}"),
                element("div", f"rank {entry.rank}, {entry.area:.0%} of a frame"),
                element("div", entry.why, class_="why"),
            )
        )
    seen = element("ol", *items) if items else element("p", "Nothing: no earlier frame was shown.", class_="none")
    return element("section", element("h4", "What the memory saw"), seen, class_="memory")


def _image(picture: UInt8[np.ndarray, "H W 3"], alt: str, style: str = "") -> Markup:
    source = "data:image/png;base64," + base64.b64encode(png_bytes(picture)).decode("ascii")
    height, width = picture.shape[:2]
    return element("img", src=source, alt=alt, width=str(width), height=str(height), style=style or False)


def _made(manifest: dict[str, Any]) -> Markup:
    made = {key: manifest[key] for key in ("models", "settings", "software")}
    return element(
        "footer",
        element(
            "details",
            element("summary", "How this board was made"),
            element("pre", json.dumps(made, indent=2, sort_keys=True, ensure_ascii=False)),
        ),
        class_="made",
    )


def _optional(name: str, value: str, class_: str) -> tuple[Markup, ...]:
    """The element, or nothing where the story says nothing."""
    return (element(name, value, class_=class_),) if value else ()
