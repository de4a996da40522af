"""The board as one self-contained page: every pair with its words, seed, memory and clip, and the film itself.

Nothing comes from outside, and no script but our own runs (a Content-Security-Policy with its hash holds that): every text of
the story shows as text, since elements are made by `markup.element`, which escapes.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import Any

from stage_jax.film.markup import Markup, element
from stage_jax.film.shot_html import image, optional, shot_article, video
from stage_jax.film.timecode import shot_spans, timecode
from stage_jax.story.board import Board, Reference
from stage_jax.story.types import Character, Location, Scene

POLICY = (
    "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)
THUMBNAIL = 128  # longest side in the film strip, in pixels
# What a button does (see board.js), what stands on it, what it says.
TOOLS = (
    ("previous", "←", "Previous shot (left arrow)"), ("next", "→", "Next shot (right arrow)"),
    ("play", "▶", "Play the shot's clip (space)"), ("film", "Film", "Play the film (F)"),
    ("theme", "◐", "Dark or light (D)"), ("print", "Print", "Print the board"),
)  # fmt: skip


def board_html(
    board: Board, manifest: dict[str, Any], film_mp4: bytes | None = None, clips: Mapping[str, bytes] | None = None
) -> str:
    """The page. `manifest` is what `manifest.manifest` made of this board; `film_mp4` is the film's file or None, `clips` the
    files of the clips by the shots' names.

    Times are those of the clips, or of the story's seconds while shots have none.
    """
    title = board.story.title or "Untitled"
    spans = shot_spans(board)
    script = shipped("board.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return document(
        f"{title}: storyboard",
        "board.css",
        _title(board, title, spans),
        _lead(board, film_mp4),
        _bar(board),
        element("main", *_scenes(board, spans, manifest, clips or {})),
        _made(manifest),
        element("script", script),
        policy=f"{POLICY}; script-src 'sha256-{digest}'",
    )


def document(title: str, style: str, *body: str, policy: str = POLICY) -> str:
    """A self-contained page in the looks of all of them and those of one file. policy: what a browser lets it do."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", shipped("page.css"), shipped(style)),
    )
    return f"<!DOCTYPE html>\n{element('html', head, element('body', *body), lang='en')}\n"


def shipped(name: str) -> Markup:
    """A style or script of this package, which needs no escaping."""
    return Markup(resources.files("stage_jax.film").joinpath(name).read_text("utf-8"))


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
        *optional("p", board.story.overview, "overview"),
        element(
            "dl",
            *(element("div", element("dt", name), element("dd", value)) for name, value in facts.items()),
            class_="facts",
        ),
        class_="title",
    )


def _lead(board: Board, film_mp4: bytes | None) -> Markup:
    film = Markup("") if film_mp4 is None else video(film_mp4, board.shots[0].pair.start, "The film")
    cast = element(
        "div",
        _people("Characters", board.story.characters, board.references),
        _people("Locations", board.story.locations),
        class_="cast",
    )
    return element("section", film, cast, class_="lead film" if film else "lead")


def _people(heading: str, entries: Iterable[Character | Location], references: Sequence[Reference] = ()) -> Markup:
    """What the story says of them, with the references as the model sees them."""
    rows = []
    for entry in entries:
        tag, name = getattr(entry, "tag", ""), entry.name or entry.id
        rows.append(element("dt", name, *optional("span", tag, "tag")))
        mine = [image(each.picture, THUMBNAIL, f"reference of {name}") for each in references if each.character == entry.id]
        rows.append(element("dd", entry.description, *([element("div", *mine, class_="references")] if mine else ())))
    return element("section", element("h2", heading), element("dl", *rows)) if rows else Markup("")


def _bar(board: Board) -> Markup:
    """The film strip, whose frames lead to their shots, and the buttons, which the script shows."""
    frames = [
        element(
            "a",
            image(shot.pair.start, THUMBNAIL, ""),
            shot.shot.id,
            href=f"#{shot.name}",
            title=shot.name,
            class_="opening" if index == 0 or board.shots[index - 1].scene.id != shot.scene.id else False,
        )
        for index, shot in enumerate(board.shots)
    ]
    tools = (element("button", sign, value=what, title=says, aria_label=says, type="button") for what, sign, says in TOOLS)
    return element(
        "nav",
        element("div", *frames, class_="strip", aria_label="Shots"),
        element("div", *tools, class_="tools", hidden=True),
        class_="bar",
    )


def _scenes(
    board: Board, spans: tuple[tuple[int, int], ...], manifest: dict[str, Any], clips: Mapping[str, bytes]
) -> Iterable[Markup]:
    """A section per scene that has shots on the board, in the board's order."""
    places = {location.id: location.name for location in board.story.locations}
    hashes = {entry["name"]: entry["hash"] for entry in manifest["shots"]}
    pictures = board.pictures()
    scenes: dict[str, tuple[Scene, list[int]]] = {}
    for index, shot in enumerate(board.shots):
        scenes.setdefault(shot.scene.id, (shot.scene, []))[1].append(index)
    for scene, indices in scenes.values():
        heading = scene.heading or places.get(scene.location, scene.location)
        begin, end = spans[indices[0]][0], spans[indices[-1]][1]
        shots = (
            shot_article(board, shot, spans[index], pictures, hashes[shot.name], clips.get(shot.name))
            for index, shot in ((index, board.shots[index]) for index in indices)
        )
        yield element(
            "section",
            element(
                "header",
                element("span", scene.id, class_="mono"),
                element("h2", heading),
                element("span", f"{timecode(begin, board.fps)} – {timecode(end, board.fps)}", class_="mono"),
            ),
            element("div", *shots, class_="shots"),
            class_="scene",
        )


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
