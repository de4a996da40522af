"""Records as one self-contained page: what a data set holds, and its stories shot by shot.

No script, nothing from outside (a Content-Security-Policy holds that), and whatever a record says shows as text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from data_pipeline.records import RecordSource
from stage_jax.errors import InputError
from stage_jax.film.data_statistics import Statistics, entries, told
from stage_jax.film.html import document
from stage_jax.film.markup import Markup, element
from stage_jax.film.shot_html import image
from stage_jax.story.masks import UNKNOWN
from stage_jax.story.types import Scene, Shot, Story, story_from_json

PICTURE = 256  # longest side in pixels
ROLES = np.array([(38, 38, 36), (222, 120, 60), (70, 140, 220), (110, 180, 90), (190, 90, 180)], np.uint8)


def data_page(directory: Path, splits: Mapping[str, RecordSource], shown: int, counted: int) -> str:
    """The page: the first `shown` stories of each split, and statistics of the first `counted` ones."""
    sections = (_split(name, source, shown, counted) for name, source in splits.items())
    return document(f"{directory.name}: records", "data.css", _title(directory, splits), *sections)


def _title(directory: Path, splits: Mapping[str, RecordSource]) -> Markup:
    metadata = next(iter(splits.values())).metadata
    facts = {name: f"{len(source):,} {'story' if len(source) == 1 else 'stories'}" for name, source in splits.items()}
    facts["Picture"] = f"{metadata['width']} × {metadata['height']}"
    facts["Frames a shot"] = f"2 and {metadata['interior']} interior"
    facts["Clips"] = f"{metadata['clip_frames']} frames" if metadata["clip_frames"] else "none"
    facts |= {str(key).replace("_", " "): str(value) for key, value in dict(metadata["about"]).items()}
    rows = (element("div", element("dt", name), element("dd", value)) for name, value in facts.items())
    return element(
        "header",
        element("p", "Records", class_="eyebrow"),
        element("h1", directory.name),
        element("dl", *rows, class_="facts"),
        class_="title",
    )


def _split(name: str, source: RecordSource, shown: int, counted: int) -> Markup:
    statistics, sections = Statistics(), []
    # Without pictures, which take most of the time.
    texts = RecordSource(source.directory, source.split, ("story", "truth", "preferences"))
    for i in range(min(len(source), max(shown, counted))):
        record = source[i] if i < shown else texts[i]
        where = f"{source.directory}, {name}, story {i}"
        story = story_from_json(_value(record["story"], where), where, captions=False)
        truth, preferences = _value(record["truth"], where), _preferences(record["preferences"], where)
        if i < counted:
            statistics.add(story, truth, (why for _, why in preferences))
        if i < shown:
            _check_pictures(story, preferences, record, where)
            sections.append(_story(story, truth, preferences, record))
    count = min(len(source), counted)
    return element(
        "section",
        element("h2", name, class_="split"),
        element("p", f"The first {count:,} of {len(source):,} stories:", class_="attributes"),
        element("div", *statistics.charts(), class_="charts"),
        *sections,
    )


def _value(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(f"{where}: found text that is no JSON ({error}), expected what `stage data` writes") from error


def _preferences(text: str, where: str) -> list[tuple[int, str]]:
    """(shot, why) of each rejected pair."""
    found = _value(text, where)
    try:
        return [(int(entry["shot"]), str(entry["why"])) for entry in found]
    except (KeyError, TypeError, ValueError) as error:
        expected = 'a list of {"shot": ..., "why": ...}'
        raise InputError(f"{where}, preferences: found something else ({error}), expected {expected}") from error


def _check_pictures(
    story: Story, preferences: list[tuple[int, str]], record: dict[str, Any], where: str
) -> None:
    """Raises InputError where a record does not have as many pictures as its texts speak of."""
    shots, frames = len(list(story.shots())), len(record["frames"])
    if shots != record["shots"] or frames < 2 * shots or frames % shots:
        raise InputError(f"{where}: found {frames} frames of {record['shots']} shots for a story of {shots}, expected as many "
                         "frames of each shot, 2 or more")  # fmt: skip
    if len(record["rejected"]) != 2 * len(preferences):
        raise InputError(f"{where}: found {len(record['rejected'])} rejected frames, expected 2 of each of the "
                         f"{len(preferences)} preferences")  # fmt: skip


def _story(story: Story, truth: Any, preferences: list[tuple[int, str]], record: dict[str, Any]) -> Markup:
    cast = record["references"]
    each = len(cast) // max(1, len(story.characters))
    people = [
        element(
            "figure",
            *(image(picture, PICTURE, f"{who.name or who.id}, reference") for picture in cast[k * each : (k + 1) * each]),
            element("figcaption", element("b", who.name or who.id), f" {who.description}"),
        )
        for k, who in enumerate(story.characters)
    ]
    places = [
        element("figure", element("figcaption", element("b", p.name or p.id), f" {p.description}")) for p in story.locations
    ]
    shots = list(_shots(story, truth, preferences, record))
    return element(
        "section",
        element(
            "header", element("h2", story.title or "Untitled"), element("span", record["source"], class_="mono"),
            element("span", record["licence"], class_="mono"),
        ),
        element("div", *people, *places, class_="people"),
        element("div", *shots, class_="shots"),
        class_="scene",
    )  # fmt: skip


def _shots(
    story: Story, truth: Any, preferences: list[tuple[int, str]], record: dict[str, Any]
) -> Iterator[Markup]:
    each = len(record["frames"]) // record["shots"]
    known = entries(truth, "shots")
    for i, (scene, shot) in enumerate(story.shots()):
        frames = record["frames"][i * each : (i + 1) * each]
        masks = record["masks"][i * each : (i + 1) * each]
        rejected = [
            (why, record["rejected"][2 * k : 2 * k + 2]) for k, (at, why) in enumerate(preferences) if at == i
        ]
        yield _shot(story, scene, shot, frames, masks, rejected, told(known[i] if i < len(known) else {}))


def _shot(
    story: Story,
    scene: Scene,
    shot: Shot,
    frames: UInt8[np.ndarray, "frames h w 3"],
    masks: np.ndarray,
    rejected: list[tuple[str, np.ndarray]],
    known: str,
) -> Markup:
    name = story.shot_name(scene, shot)
    # The records' order is start, end, interior; shown in the order of time.
    order = [0, *range(2, len(frames)), 1]
    labels = ["start", *(f"interior {k}" for k in range(1, len(frames) - 1)), "end"]
    named = list(zip(order, labels, strict=True))
    strip = [_figure(frames[k], f"{name}, {label} frame", label) for k, label in named]
    rows = [element("div", *strip, class_="strip")]
    if len(masks):
        told = [(k, label) for k, label in named if (masks[k] != UNKNOWN).any()]
        roles = [_figure(ROLES[masks[k] % len(ROLES)], f"{name}, roles at {label}", label) for k, label in told]
        rows.append(element("div", *roles, class_="strip roles"))
    for why, pair in rejected:
        labels = ("rejected start", "rejected end")
        pictures = [_figure(p, f"{name}, {label}", label) for p, label in zip(pair, labels, strict=True)]
        rows.append(element("div", *pictures, element("p", why, class_="why"), class_="strip rejected"))
    attributes = [shot.size, shot.angle, shot.movement, f"{shot.seconds:.3g} s", ", ".join(shot.characters), scene.heading]
    return element(
        "article",
        element("header", element("h3", name)),
        *rows,
        element("p", shot.description, class_="caption"),
        element("p", " · ".join(word for word in attributes if word), class_="attributes"),
        *([element("p", known, class_="notes")] if known else []),
        class_="shot",
    )


def _figure(picture: UInt8[np.ndarray, "H W 3"], alt: str, label: str) -> Markup:
    return element("figure", image(picture, PICTURE, alt), *([element("figcaption", label)] if label else []))
