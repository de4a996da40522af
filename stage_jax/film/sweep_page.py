"""The results of a sweep as a table: for a terminal, and as one self-contained page."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources

from stage_jax.film.html import POLICY
from stage_jax.film.markup import Markup, element
from stage_jax.training.sweep import Progress

Rows = Mapping[str, tuple[Progress, int]]  # run -> how far it is, of how many steps
LEFT_OUT = ("step", "steps_per_second", "skipped", "skipped_in_a_row")  # metrics that say nothing of a result


def sweep_text(rows: Rows) -> str:
    """A line a run, numbers to the right."""
    table = _table(rows)
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    lines = [
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))])
        for line in table
    ]
    return "\n".join(line.rstrip() for line in lines)


def sweep_page(title: str, rows: Rows) -> str:
    head, *body = _table(rows)
    style = resources.files("stage_jax.film").joinpath("board.css").read_text("utf-8")
    table = element(
        "table",
        element("tr", *(element("th", cell) for cell in head)),
        *(element("tr", *(element("td", cell) for cell in line)) for line in body),
    )
    page = element(
        "html",
        element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", http_equiv="Content-Security-Policy", content=POLICY),
            element("title", f"{title}: sweep"),
            element("style", Markup(f"{style} th, td {{ text-align: right; padding: .3rem .8rem }}"
                                    " th:first-child, td:first-child { text-align: left }")),
        ),
        element("body", element("header", element("p", "Sweep", class_="eyebrow"), element("h1", title), class_="title"),
                element("main", table)),
        lang="en",
    )  # fmt: skip
    return f"<!DOCTYPE html>\n{page}\n"


def _table(rows: Rows) -> list[list[str]]:
    """Its head, and a line a run: name, state, the metrics that some run has; of those finished the least loss is starred."""
    names = list(dict.fromkeys(name for progress, _ in rows.values() for name in progress.metrics if name not in LEFT_OUT))
    finished = {run: progress.metrics for run, (progress, _) in rows.items() if progress.finished}
    ended = {run: metrics["loss"] for run, metrics in finished.items() if "loss" in metrics}
    best = min(ended, key=ended.__getitem__, default=None)
    table = [["run", "state", *names]]
    for run, (progress, steps) in rows.items():
        state = "finished" if progress.finished else f"{progress.step}/{steps}" if progress.step else "not begun"
        cells = [f"{progress.metrics[name]:.5g}" if name in progress.metrics else "" for name in names]
        if run == best and "loss" in names:
            cells[names.index("loss")] += "*"
        table.append([run, state, *cells])
    return table
