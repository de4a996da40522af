"""Measures ingest on toy films whose shots are known: python tools/measure_ingest.py WORKDIR [KIND ...] [--seed N]

Makes a film of each kind (h264, PyAV) in WORKDIR unless it is there, ingests it and prints a line of a table: cuts found,
F1 within one frame for cuts and within the mixed frames for others, camera moves told rightly. `speed` compares with
PySceneDetect's own detect() on one file, `memory` a film of ten minutes with one of a minute, `killed` kills an ingest
five times.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from data_pipeline.ingest.film import ingest_film
from data_pipeline.ingest.shots import ShotRecord
from data_pipeline.toy_cinema.full import stories
from data_pipeline.toy_cinema.full.films import film_frames
from data_pipeline.toy_cinema.full.montage import DISSOLVE, FADE, Join, joined, spans

FPS, HEIGHT, WIDTH = 24, 360, 640
Frames = Iterator[np.ndarray]


def write(path: Path, frames: Frames, times: list[int] | None = None, turned: int = 0, pixels: str = "yuv420p") -> None:
    """times: of each frame, in 1/240 s. turned: degrees of the display matrix."""
    part = path.with_name(f"part_{path.name}")
    with av.open(str(part), "w") as container:
        stream = None
        for i, frame in enumerate(frames):
            if stream is None:
                stream = container.add_stream("libx264", rate=FPS, options={"crf": "20", "preset": "veryfast"})
                stream.height, stream.width = frame.shape[:2]
                stream.pix_fmt, stream.codec_context.thread_count = pixels, 1
                if turned:
                    stream.set_display_rotation(turned)
                if times:
                    stream.codec_context.time_base = Fraction(1, 240)
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            if times:
                picture.pts, picture.time_base = times[i], Fraction(1, 240)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    part.rename(path)


def toy_shots(seeds: range, rng: np.random.Generator, lengths: tuple[int, int], size=(HEIGHT, WIDTH)):
    """The frames of the shots of stories, how many of each, and how the camera moves."""
    chosen = [(story, k) for story in map(stories.random_story, seeds) for k in range(len(story.shots))]
    told = [(story, k, int(rng.integers(*lengths))) for story, k in chosen]
    clips = (film_frames(story, k, n, *size) for story, k, n in told)
    return clips, [n for _, _, n in told], [story.shots[k].camera for story, k, _ in told]


def whipped(clip: Frames, n: int) -> Frames:
    """With a whip pan in the middle: eight frames that run by, smeared."""
    for i, frame in enumerate(clip):
        if n // 2 <= i < n // 2 + 8:
            gone = 60 * (i - n // 2 + 1)
            frame = np.mean([np.roll(frame, gone + 12 * k, axis=1) for k in range(5)], axis=0).astype(np.uint8)
        elif i >= n // 2 + 8:
            frame = np.roll(frame, 480, axis=1)
        yield frame


def flashed(clip: Frames, n: int) -> Frames:
    """With a flash of one to three frames in the middle."""
    for i, frame in enumerate(clip):
        yield np.maximum(frame, 245) if 0 <= i - n // 2 < 1 + n % 3 else frame


def barred(clip: Frames, bars: tuple[int, int]) -> Frames:
    for frame in clip:
        inside = np.zeros_like(frame)
        high, wide = bars
        inside[high : HEIGHT - high, wide : WIDTH - wide] = frame[high : HEIGHT - high, wide : WIDTH - wide]
        yield inside


def make(kind: str, path: Path, seed: int) -> dict:
    """The film, and its truth: spans and joins of its shots, their cameras and bars."""
    rng = np.random.default_rng(sum(map(ord, kind)) + seed)
    long = kind in ("dissolves", "fades")
    first, count = {"cuts": (100, 6), "dissolves": (120, 2), "fades": (130, 2)}.get(kind, (140, 2))
    seeds = range(first + seed, first + seed + count)
    size = (361, 641) if kind == "odd" else (HEIGHT, WIDTH)
    clips, lengths, cameras = toy_shots(seeds, rng, (80, 110) if long else (30, 60), size)
    joins, bars = [Join()] * (len(lengths) - 1), [(0, 0)] * len(lengths)
    if kind == "dissolves":
        joins = [Join(DISSOLVE, int(rng.integers(6, 33))) for _ in joins]
    elif kind == "fades":
        joins = [Join(FADE, int(rng.integers(6, 28)), int(rng.integers(0, 12))) for _ in joins]
    elif kind in ("whips", "flashes"):
        change = whipped if kind == "whips" else flashed
        clips = (change(clip, n) for clip, n in zip(clips, lengths, strict=True))
    elif kind == "letterbox":
        bars = [((0, 0), (46, 0), (0, 80))[int(rng.integers(3))] for _ in lengths]
        clips = (barred(clip, bar) for clip, bar in zip(clips, bars, strict=True))
    frames = joined(clips, lengths, joins)
    times = np.cumsum(rng.integers(5, 20, sum(lengths))).tolist() if kind == "variable" else None
    if kind == "rotated":
        frames = (np.rot90(frame) for frame in frames)
    pixels = "yuv444p" if kind == "odd" else "yuv420p"
    write(path, frames, times, -90 if kind == "rotated" else 0, pixels)
    return {"spans": spans(lengths, joins), "cameras": cameras, "bars": bars, "mixed": bool(long)}


def make_many(path: Path, cuts: int) -> dict:
    """Plain pictures of random cells, 12 to 15 frames each, 64 x 64."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(12, 16, cuts + 1).tolist()

    def clip(n: int) -> Frames:
        cells = cv2.resize(rng.integers(0, 256, (4, 4, 3)).astype(np.uint8), (64, 64), interpolation=cv2.INTER_CUBIC)
        for i in range(n):
            picture = cells.copy()
            picture[28:36, i % 56 : i % 56 + 8] = 255
            yield picture

    write(path, joined(map(clip, lengths), lengths, [Join()] * cuts))
    return {"spans": spans(lengths, [Join()] * cuts), "cameras": None, "bars": [(0, 0)] * (cuts + 1), "mixed": False}


def boundaries_found(truth: list[list[int]], shots: list[ShotRecord]) -> int:
    """Boundaries that lie where the true ones do: at the cut, or among the mixed frames."""
    begins = [shot.first_frame for shot in shots[1:]]
    return sum(any(last < begin <= first for begin in begins) for (_, last), (first, _) in itertools.pairwise(truth))


def table_line(kind: str, truth: dict, shots: list[ShotRecord], seconds: float, frames: int) -> str:
    true, found = len(truth["spans"]) - 1, len(shots) - 1
    right = boundaries_found(truth["spans"], shots)
    f1 = 2 * right / max(true + found, 1)
    whole = {(shot.first_frame, shot.last_frame): shot for shot in shots}
    cells = [kind, str(frames), str(true), str(found), str(right), f"{f1:.3f}"]
    pairs = [(whole.get(tuple(span)), i) for i, span in enumerate(truth["spans"])] if not truth["mixed"] else []
    kept = [(shot, i) for shot, i in pairs if shot and shot.kept]
    told = sum(bool(shot.camera) and shot.camera.words == truth["cameras"][i] for shot, i in kept) if truth["cameras"] else 0
    bars = sum((shot.bars.top, shot.bars.left) == tuple(truth["bars"][i]) for shot, i in kept)
    cells += [f"{told} of {len(kept)}" if truth["cameras"] and kept else "", f"{bars} of {len(kept)}" if kept else ""]
    if truth["mixed"]:
        clear = [s for s in shots if s.kept]
        inside = sum(any(a <= s.start_frame and s.end_frame <= b for a, b in truth["spans"]) for s in clear)
        cells[-1] = f"clear {inside} of {len(clear)}"
    return f"| {' | '.join(cells)} | {frames / seconds:.0f} |"


def measure(kind: str, work: Path, seed: int) -> str:
    name = f"{kind}_{seed}" if seed else kind
    film, told = work / f"{name}.mp4", work / f"{name}.json"
    if not (film.exists() and told.exists()):
        told.write_text(json.dumps(make_many(film, 10_000) if kind == "many" else make(kind, film, seed)))
    truth, began = json.loads(told.read_text()), time.process_time()
    shutil.rmtree(work / name, ignore_errors=True)
    shots = list(ingest_film(film, work / name).shots)
    return table_line(kind, truth, shots, time.process_time() - began, shots[-1].last_frame + 1)


def speed(film: Path, work: Path) -> str:
    """Seconds of processor time, in turns, of two rounds."""
    from scenedetect import AdaptiveDetector, detect

    ratios = []
    for _ in range(2):
        a = time.process_time()
        detect(str(film), AdaptiveDetector())
        b = time.process_time()
        shutil.rmtree(work / "speed", ignore_errors=True)
        ingest_film(film, work / "speed")
        ratios.append((time.process_time() - b, b - a))
    return "; ".join(f"ingest {ours:.1f} s, scenedetect {theirs:.1f} s, ratio {ours / theirs:.2f}" for ours, theirs in ratios)


def memory(work: Path) -> str:
    """Peak memory of a process that ingests a film of a minute, and of one that ingests ten."""
    peaks = []
    for minutes in (1, 10):
        film = work / f"minutes{minutes}.mp4"
        if not film.exists():
            clips, _, _ = toy_shots(range(150, 152), np.random.default_rng(1), (30, 90), (90, 160))
            some = [frame for clip in clips for frame in clip][: 60 * FPS // 2]
            write(film, itertools.islice(itertools.cycle(some), 60 * FPS * minutes))
        shutil.rmtree(work / "memory", ignore_errors=True)
        program = [sys.executable, __file__, str(work), "--one", str(film), str(work / "memory")]
        peaks.append(int(subprocess.run(program, check=True, capture_output=True, text=True).stdout))
    return f"1 minute {peaks[0] / 1024:.1f} MiB, 10 minutes {peaks[1] / 1024:.1f} MiB, ratio {peaks[1] / peaks[0]:.3f}"


def killed(films: list[Path], work: Path) -> str:
    """Ingests films undisturbed, then with five kills at random times; compares every byte."""
    stage = [sys.executable, "-c", "import sys; from stage_jax.cli.main import main; sys.exit(main())"]
    stage += ["data", "ingest", *map(str, films), "--out"]
    one, other = work / "undisturbed", work / "killed"
    for folder in (one, other):
        shutil.rmtree(folder, ignore_errors=True)
    began = time.monotonic()
    subprocess.run([*stage, str(one)], check=True, capture_output=True)
    whole, kills = time.monotonic() - began, []
    for _ in range(5):
        with subprocess.Popen([*stage, str(other)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
            wait = random.uniform(0.1, 0.9) * whole
            try:
                run.wait(wait)
            except subprocess.TimeoutExpired:
                os.kill(run.pid, signal.SIGKILL)
                kills.append(f"{wait:.1f} s")
    subprocess.run([*stage, str(other)], check=True, capture_output=True)
    files = [{p.relative_to(f): p.read_bytes() for p in f.rglob("*") if p.is_file()} for f in (one, other)]
    return f"killed after {', '.join(kills)} (of {whole:.1f} s): {'the same bytes' if files[0] == files[1] else 'DIFFERENT'}"


KINDS = ("cuts", "dissolves", "fades", "whips", "flashes", "letterbox", "variable", "rotated", "odd", "many")
BESIDE = ("memory", "killed", "speed")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description="Measures ingest on toy films whose shots are known.")
    made.add_argument("work", metavar="WORKDIR", type=Path, help="for the films and what is made of them")
    made.add_argument("kinds", metavar="KIND", nargs="*", default=KINDS, help=f"{', '.join((*KINDS, *BESIDE))} (the first ten)")
    made.add_argument("--seed", metavar="N", type=int, default=0, help="of the stories: other films of the kinds (0)")
    made.add_argument("--one", metavar=("FILM", "DIR"), nargs=2, type=Path, help="ingest this film, print the peak of memory")
    return made


def main() -> None:
    args = parser().parse_args()
    if unknown := [kind for kind in args.kinds if kind not in (*KINDS, *BESIDE)]:
        parser().error(f"found {unknown[0]!r}, expected of {', '.join((*KINDS, *BESIDE))}")
    work = args.work
    work.mkdir(parents=True, exist_ok=True)
    if args.one:
        ingest_film(*args.one)
        # Not getrusage's ru_maxrss, which begins with what the parent held.
        print(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")))
        return
    for kind in args.kinds:
        if kind == "speed":
            print(speed(work / "whips.mp4", work), flush=True)
        elif kind == "memory":
            print(memory(work), flush=True)
        elif kind == "killed":
            print(killed([work / "whips.mp4", work / "flashes.mp4"], work), flush=True)
        else:
            print(measure(kind, work, args.seed), flush=True)


if __name__ == "__main__":
    main()
