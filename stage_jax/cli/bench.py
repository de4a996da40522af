"""`stage bench wan|train|data|board`: measured ratios, against a peer or of a shot late in a story, on this machine."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stage_jax.cli.arguments import refuse, whole
from stage_jax.progress import Progress

SHOWN = 6  # kinds of work in a line of a profile


def add_parser(verbs: argparse._SubParsersAction) -> None:
    kinds = verbs.add_parser(
        "bench", help="measured ratios against a peer", description="Times us and a peer in turns, on this machine."
    ).add_subparsers(title="kinds", metavar="KIND", required=True)
    parser = kinds.add_parser(
        "wan",
        help="Wan's parts against diffusers in torch",
        description="A small Wan DiT: forward, and forward + backward; Wan2.1's VAE at full width: encode and decode.",
    )
    parser.add_argument("--part", choices=("dit", "vae"), help="one of the two (default: both)")
    _common(parser, run_wan, "wan.json and wan.png")
    _add_train(kinds)
    _add_data(kinds)
    _add_board(kinds)


def _common(parser: argparse.ArgumentParser, run: Callable[..., None], files: str, threads: bool = True) -> None:
    parser.add_argument("--rounds", metavar="N", type=whole(1, 1000), default=7, help="rounds that count (7)")
    if threads:
        parser.add_argument("--threads", metavar="N", type=whole(1, 1024), help="processors for each (all of them)")
    parser.add_argument("--out", metavar="DIR", type=Path, help=f"for {files}")
    parser.set_defaults(run=run)


def _add_train(kinds: argparse._SubParsersAction) -> None:
    parser = kinds.add_parser(
        "train",
        help="a training step against diffusers in torch",
        description="One step with AdamW of the tiny filler and of a small Wan DiT (8 layers, 384 wide), and where it goes.",
    )
    parser.add_argument("--part", choices=("tiny", "8x384"), help="one of the two (default: both)")
    _common(parser, run_train, "train.json and train.png")


def _add_data(kinds: argparse._SubParsersAction) -> None:
    parser = kinds.add_parser(
        "data",
        help="the loader against torch's DataLoader",
        description="Clip windows of toy records, by our loader and by torch's; then how long a tiny training waits for data.",
    )
    parser.add_argument("--workers", metavar="N", type=whole(0, 256), default=2, help="processes of each loader (2)")
    parser.add_argument("--stories", metavar="N", type=whole(1, 1_000_000), default=1000, help="in the records (1000)")
    _common(parser, run_data, "data.json")


def _add_board(kinds: argparse._SubParsersAction) -> None:
    parser = kinds.add_parser(
        "board",
        help="a shot early and late in a story, with every memory packing",
        description="Times shot 5 and shot 200 of a board in turns, for the packings paper, release and off.",
    )
    parser.add_argument("--model", metavar="DIR", type=Path, help="model folder (default: the tiny one shipped)")
    parser.add_argument("--caption", metavar="TEXT", default="Mia walks left.", help="of all shots (%(default)s)")
    _common(parser, run_board, "board.json", threads=False)


def run_board(args: argparse.Namespace, unknown: list[str]) -> None:
    refuse(unknown)
    from importlib import resources

    from stage_jax import files
    from stage_jax.bench.boards import SHOTS, bench_boards
    from stage_jax.film.make import TINY
    from stage_jax.generate.models import load_models

    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
    models = load_models(args.model or Path(str(resources.files("stage_jax") / TINY)), fill=False)
    with Progress() as progress:
        costs = bench_boards(models, args.caption, rounds=args.rounds, progress=progress.step)
    names = "".join(f"{f'shot {n}':>12s}" for n in SHOTS)
    print(f"{'packing':10s}{'pair':>8s}{'memory':>8s}{names}{'ratio':>8s}{'programs':>10s}")
    for cost in costs:
        times = "".join(f"{statistics.median(cost.seconds[n]):10.3f} s" for n in SHOTS)
        tokens = f"{cost.pair_tokens:8d}{cost.memory_tokens:8d}"
        print(f"{cost.packing:10s}{tokens}{times}{cost.late_to_early():8.3f}{cost.programs:10d}")
    print(f"tokens of pair and memory; medians of {args.rounds} rounds, the ratio of a round's two times")
    if args.out:
        files.write_text(args.out / "board.json", json.dumps([dataclasses.asdict(cost) for cost in costs], indent=1) + "\n")


def run_data(args: argparse.Namespace, unknown: list[str]) -> None:
    refuse(unknown)
    from stage_jax import files
    from stage_jax.bench.data import OURS, PEER, Task, bench_data

    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
    task = Task(workers=args.workers, stories=args.stories)
    with Progress() as progress:
        result = bench_data(task, rounds=args.rounds, threads=args.threads, progress=progress.step)
    ratios = result.timing.ratios(PEER, OURS)
    print(f"{'':24s}{OURS:>18s}{PEER:>18s}{'ratio':>8s}   (medians of {args.rounds} rounds; ratios paired)")
    print(
        f"{'samples a second':24s}{result.samples_per_second(OURS):18.0f}{result.samples_per_second(PEER):18.0f}"
        f"{result.ratio():8.2f}   {min(ratios):.2f} to {max(ratios):.2f}"
    )
    print(f"{'first batch, seconds':24s}{result.first[OURS]:18.2f}{result.first[PEER]:18.2f}   (measured once)")
    print(f"a tiny training waits for data {100 * result.waiting:.2f} % of its time (steps of {result.step_seconds:.3f} s)")
    versions = ", ".join(f"{name} {version}" for name, version in result.setting["versions"].items())
    print(f"{result.setting['threads']} processors, {args.workers} workers; {versions}")
    if args.out:
        files.write_text(args.out / "data.json", json.dumps(dataclasses.asdict(result), indent=1) + "\n")


def run_wan(args: argparse.Namespace, unknown: list[str]) -> None:
    refuse(unknown)
    from stage_jax.bench.vae import bench_vae
    from stage_jax.bench.wan import bench_wan

    _run(args, "wan", "Wan's parts, seconds", {"dit": bench_wan, "vae": bench_vae})


def run_train(args: argparse.Namespace, unknown: list[str]) -> None:
    refuse(unknown)
    from stage_jax.bench.train import MODELS, bench_train

    results = _run(
        args, "train", "Training steps, seconds", {name: functools.partial(bench_train, name, m) for name, m in MODELS.items()}
    )
    for name, result in results.items():
        for who, profile in result.setting["profile"].items():
            most = ", ".join(f"{kind} {share:.0%}" for kind, share in list(profile.items())[:SHOWN])
            print(f"{name}, {who}: {most}")


def _run(args: argparse.Namespace, name: str, title: str, parts: Mapping[str, Callable[..., Any]]) -> dict[str, Any]:
    """Runs the parts that were asked for (each a `Bench`), prints their ratios, and writes NAME.json and NAME.png."""
    from stage_jax import files
    from stage_jax.bench.against_diffusers import OURS, PEER
    from stage_jax.evaluation.figures import Figure
    from stage_jax.evaluation.sheets import bar_chart
    from stage_jax.film.png import write_png

    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
    results = {}
    with Progress() as progress:
        for part in [args.part] if args.part else parts:
            results[part] = parts[part](rounds=args.rounds, threads=args.threads, progress=progress.step)
    print(f"{'':22s}{OURS:>12s}{PEER:>12s}{'ratio':>8s}   (medians of {args.rounds} rounds in seconds; ratios paired)")
    bars = {}
    for timing in (timing for result in results.values() for timing in result.timings):
        ours, peer = (statistics.median(timing.seconds[name]) for name in (OURS, PEER))
        ratios = timing.ratios(OURS, PEER)
        ratio = timing.ratio(OURS, PEER)
        print(f"{timing.work:22s}{ours:12.3f}{peer:12.3f}{ratio:8.2f}   {min(ratios):.2f} to {max(ratios):.2f}")
        bars[f"{timing.work}: {ratio:.2f}"] = [
            Figure("bench", timing.work, name, "s", value, None, args.rounds, 0) for name, value in ((OURS, ours), (PEER, peer))
        ]
    setting = next(iter(results.values())).setting
    print(f"{setting['threads']} threads; " + ", ".join(f"{name} {version}" for name, version in setting["versions"].items()))
    differences = {name: value for result in results.values() for name, value in result.differences.items()}
    print("differences: " + ", ".join(f"{name} {value:.1e}" for name, value in differences.items()))
    if args.out:
        told = {part: dataclasses.asdict(result) for part, result in results.items()}
        files.write_text(args.out / f"{name}.json", json.dumps(told, indent=1) + "\n")
        write_png(args.out / f"{name}.png", bar_chart(title, bars))
    return results
