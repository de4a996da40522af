"""Draws the curves of training runs: `python tools/plot_metrics.py runs/tiny_vae runs/tiny_step2 --out docs/curves.png`.

One panel a run, its metrics.jsonl over the minutes trained. Needs matplotlib (extra `dev`).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt

SMOOTH = 10  # reports that a thick line averages over


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, help="workdirs of `stage train`")
    parser.add_argument("--out", type=Path, required=True, help="a PNG")
    parser.add_argument("--metric", default="loss", help="default: loss")
    parser.add_argument("--linear", action="store_true", help="no logarithmic axis, for shares")
    args = parser.parse_args()
    figure, axes = plt.subplots(1, len(args.runs), figsize=(4.5 * len(args.runs), 3.2), squeeze=False)
    for axis, run in zip(axes[0], args.runs, strict=True):
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        minutes = np.array([line["seconds"] for line in lines]) / 60
        values = np.array([line[args.metric] for line in lines])
        mean = np.convolve(values, np.ones(SMOOTH) / SMOOTH, mode="valid") if len(values) >= SMOOTH else values
        axis.plot(minutes, values, color="0.8", linewidth=1)
        axis.plot(minutes[len(minutes) - len(mean) :], mean, color="tab:blue")
        axis.set(title=f"{run.name}, {lines[-1]['step']:,} steps", xlabel="minutes", ylabel=args.metric)
        axis.set_yscale("linear" if args.linear else "log")
        axis.grid(alpha=0.3, which="both")
    figure.tight_layout()
    figure.savefig(args.out, dpi=110)


if __name__ == "__main__":
    main()
