"""A measurement of many parts: run one after the other, and written after each as a table and as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stage_jax import files
from stage_jax.errors import InputError
from stage_jax.evaluation.figures import Figure, as_json, markdown_table
from stage_jax.progress import Progress
from stage_jax.weights.folder import part_hashes

Part = Callable[[Progress], list[Figure]]
Goal = Callable[[Figure], str]


def measure(
    program: str, models: Sequence[Path], parts: Iterable[Part], out: Path, goal: Goal, settings: Mapping[str, Any]
) -> int:
    """Prints the table and writes figures.md and, with the models' hashes and the settings, figures.json. goal: what a figure
    has to reach and whether it did. Returns the exit code; bad input is told in one line by the program's name."""
    try:
        weights = [part_hashes(model) for model in models]
        about = {"weights": weights, "settings": dict(settings)}
        out.mkdir(parents=True, exist_ok=True)
        figures: list[Figure] = []
        table = ""
        with Progress() as progress:
            for part in parts:
                figures += part(progress)
                table = _write(out, figures, goal, about)  # after every part: a long measurement keeps what it has
        print(table, end="")
    except (InputError, OSError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    return 0


def _write(out: Path, figures: Sequence[Figure], goal: Goal, about: Mapping[str, Any]) -> str:
    goals = [goal(figure) for figure in figures]
    table = markdown_table(figures, goals)
    found = [figure | {"goal": verdict} for figure, verdict in zip(as_json(figures), goals, strict=True)]
    files.write_text(out / "figures.json", json.dumps({**about, "figures": found}, indent=1, ensure_ascii=False) + "\n")
    files.write_text(out / "figures.md", table)
    return table
