"""How near pairs and clips come to the true ones of a film, of which nothing is known but its pictures; no network judges.

| measure of a picture | tells |
| --- | --- |
| PSNR | how near every pixel is; a blurred picture does well |
| PSNR of 8x8 | the same of the means of 8x8 cells: whether light, dark and colours lie where they should |
| colours | which part of the pixels has the true one's colours, wherever they lie (histogram intersection, 64 colours) |

Of a pair also its change: the mean difference of start and end frame in grey levels of 255.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, UInt8

from data_pipeline.ingest.quality import colours, common_colours
from stage_jax.evaluation.figures import Figure, mean_figure
from stage_jax.evaluation.psnr import psnr

CELLS = 8  # on a side
ENDS = ("start", "end")
TRUE = "true pair"
Pairs = UInt8[np.ndarray, "n 2 h w 3"]


def pair_figures(part: str, ways: Mapping[str, Pairs], truth: UInt8[np.ndarray, "2 h w 3"]) -> list[Figure]:
    """All measures of every way to come to a pair; of several pairs their mean with its standard error. Of the true pair only
    the change."""
    figures = []
    for way, pairs in ways.items():
        draws = range(len(pairs))
        for end, name in enumerate(ENDS):
            made, true = pairs[:, end], np.stack([truth[end]] * len(pairs))
            measures = {
                "PSNR": ("dB", psnr(made, true)),
                "PSNR of 8x8": ("dB", psnr(coarse(made), coarse(true))),
                "colours": ("share", [common_colours(colours(picture), colours(truth[end])) for picture in made]),
            }
            figures += [mean_figure(part, f"{name}: {what}", way, unit, v, draws) for what, (unit, v) in measures.items()]
        figures.append(mean_figure(part, "change", way, "grey", change(pairs), draws))
    return [*figures, mean_figure(part, "change", TRUE, "grey", change(truth[None]), [0])]


def clip_figures(
    part: str, ways: Mapping[str, UInt8[np.ndarray, "n frames h w 3"]], truth: UInt8[np.ndarray, "frames h w 3"]
) -> list[Figure]:
    """PSNR of clips to the true one: of the first frame, of the last, and the mean of those between."""
    figures = []
    for way, clips in ways.items():
        values = np.stack([psnr(clip, truth) for clip in clips])
        parts = {"first frame": values[:, 0], "inner frames": values[:, 1:-1].mean(1), "last frame": values[:, -1]}
        figures += [mean_figure(part, f"{what}: PSNR", way, "dB", v, range(len(clips))) for what, v in parts.items()]
    return figures


def coarse(pictures: UInt8[np.ndarray, "n h w 3"]) -> UInt8[np.ndarray, "n 8 8 3"]:
    """The means of 8x8 cells of pictures whose sides are multiples of 8."""
    n, h, w, _ = pictures.shape
    cells = pictures.reshape(n, CELLS, h // CELLS, CELLS, w // CELLS, 3)
    return np.round(cells.astype(np.float64).mean((2, 4))).astype(np.uint8)


def change(pairs: Pairs) -> Float[np.ndarray, " n"]:
    """The mean difference of start and end frame, in grey levels of 255."""
    return np.abs(pairs[:, 0].astype(np.float64) - pairs[:, 1]).mean((1, 2, 3))


def ways_table(figures: Sequence[Figure]) -> str:
    """A Markdown table of figures of one part: a row a way, a column a measure, a dash where there is none."""
    ways, measures = (list(dict.fromkeys(getattr(figure, name) for figure in figures)) for name in ("what", "measure"))
    found = {(figure.what, figure.measure): figure for figure in figures}
    lines = [["", "n", *measures], ["---"] * (len(measures) + 2)]
    for way in ways:
        row = [found.get((way, measure)) for measure in measures]
        lines.append([way, str(max(figure.n for figure in row if figure)), *map(_cell, row)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return "–"
    digits = 2 if figure.unit == "share" else 1
    error = "" if figure.error is None else f" ± {figure.error:.{digits}f}"
    return f"{figure.value:.{digits}f}{error}"
