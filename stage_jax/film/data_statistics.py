"""How often what occurs in records: counted story by story, drawn as bars."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator
from typing import Any

from stage_jax.film.markup import Markup, element
from stage_jax.story.types import Story

MOST = 12  # bars of a chart; the rest is summed up
LONGEST = 28  # letters of a label
WORDS, STEP = "words in a caption", 5  # counted in steps
LOOKS = ("shape", "colour", "hat")  # of the toy world's characters
KINDS = ("kind", "sky", "ground", "prop")  # of its places


class Statistics:
    """Counts what stories say, and what the toy world knows of them."""

    def __init__(self) -> None:
        self.counts: dict[str, collections.Counter[int | str]] = collections.defaultdict(collections.Counter)

    def add(self, story: Story, truth: Any, reasons: Iterable[str]) -> None:
        """truth: the JSON value of a record; whatever is not as the toy world writes it is not counted. reasons: why each
        rejected pair is worse."""
        shots = [shot for _, shot in story.shots()]
        self._count("shots in a story", len(shots))
        self._count("characters in a story", len(story.characters))
        self._count("scenes in a story", len(story.scenes))
        for shot in shots:
            self._count("characters in a shot", len(shot.characters))
            self._count(WORDS, len(shot.description.split()) // STEP * STEP)
            for name, value in (("size", shot.size), ("angle", shot.angle), ("movement", shot.movement)):
                if value:
                    self._count(name, value)
        for name, fields in (("characters", LOOKS), ("places", KINDS)):
            for entry in entries(truth, name):
                for field in fields:
                    if isinstance(entry.get(field), str):
                        self._count(field, entry[field])
        for entry in entries(truth, "shots"):
            actions = entry.get("actions", [entry["action"]] if "action" in entry else [])
            for action in actions if isinstance(actions, list) else []:
                self._count("action", str(action))
        for why in reasons:
            self._count("rejected pairs", why)

    def _count(self, chart: str, value: int | str) -> None:
        self.counts[chart][value] += 1

    def charts(self) -> Iterator[Markup]:
        for name, counter in self.counts.items():
            yield _chart(name, counter)


def entries(truth: Any, name: str) -> list[dict[str, Any]]:
    """The objects in a list of the truth; none if it has no such list."""
    found = truth.get(name, []) if isinstance(truth, dict) else []
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def _chart(name: str, counter: collections.Counter) -> Markup:
    """Bars: numbers in their order, words by how often they occur."""
    if all(isinstance(value, int) for value in counter):
        rows = sorted(counter.items())
        if name == WORDS:
            rows = [(f"{n} to {n + STEP - 1}", count) for n, count in rows]
    else:
        rows = counter.most_common()
        if len(rows) > MOST:
            rows = [*rows[:MOST], (f"{len(rows) - MOST} others", sum(n for _, n in rows[MOST:]))]
    top = max(n for _, n in rows)
    bars = []
    for value, n in rows:
        label = str(value) if len(str(value)) <= LONGEST else f"{str(value)[: LONGEST - 1]}…"
        bar = element("span", style=f"width: {100 * n / top:.1f}%", class_="bar")
        bars.append(element("li", element("span", label), element("span", bar), element("span", f"{n:,}", class_="mono")))
    return element("figure", element("figcaption", name), element("ol", *bars), class_="chart")


def told(shot: dict[str, Any]) -> str:
    """What the truth of a toy shot adds to its story, in words; nothing for other records."""
    actions = shot.get("actions", [shot["action"]] if "action" in shot else [])
    words = [str(action) for action in actions] if isinstance(actions, list) else []
    words += ["goes on over the cut"] if shot.get("goes_on") is True else []
    for name in ("x", "travel"):
        value = shot.get(name)
        if value is not None:
            numbers = value if isinstance(value, list) else [value]
            words.append(f"{name} " + ", ".join(f"{n:.4g}" if isinstance(n, int | float) else str(n) for n in numbers))
    return " · ".join(words)
