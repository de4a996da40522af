"""One film into its shots: shots.jsonl, and a start, an end and interior frames of each, as `stage film --pairs` takes them."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from data_pipeline.ingest.analyse import find_shots
from data_pipeline.ingest.bars import without_bars
from data_pipeline.ingest.decode import film_frames
from data_pipeline.ingest.keep import Keep
from data_pipeline.ingest.shots import INTERIOR, FilmShots, ShotRecord, picture_names, read_shots, write_shots
from stage_jax.errors import InputError
from stage_jax.files import atomic_folder

FORMAT = "stage_jax.ingest/1"
FILM = "film.json"  # which film an ingest is of
ENDS = 2**20  # bytes at the beginning and at the end of a film that tell it from others
OURS = re.compile(rf"shots\.jsonl|{re.escape(FILM)}|SC\d+_SH\d+_(?:{'|'.join(picture_names(INTERIOR))})\.png")

Progress = Callable[[str, int, int], None]


def ingest_film(film: Path, out: Path, progress: Progress | None = None, transnet: Path | None = None) -> FilmShots:
    """Finds the shots of a film and writes them to the folder `out`, whole or not at all. What is there of the same film stays.

    The film is read twice: what is taken of a shot is known when it has ended. progress: called with ("frames", read, in all as
    far as the film says, else 0), then with ("pictures", written, in all). transnet: weights of TransNet V2 that find the
    transitions.
    Raises InputError if the film is missing, none, empty or cut short, or if `out` holds more than an earlier ingest.
    """
    identity = {"format": FORMAT, **file_identity(film)}
    identity["transnet"] = file_identity(transnet)["sha256_of_ends"] if transnet else ""
    if _is_done(out, identity):
        return read_shots(out)
    _check_out(out)
    for left in out.parent.glob(f".{glob.escape(out.name)}.*.partial"):  # by a run that was killed
        shutil.rmtree(left, ignore_errors=True)
    with atomic_folder(out) as folder:
        keep = Keep(identity["name"])
        told = progress and (lambda done, total: progress("frames", done, total))
        shots = [keep.record(shot) for shot in find_shots(film, told, transnet)]
        shots = _write_pictures(film, folder, shots, progress)
        write_shots(folder, shots)
        (folder / FILM).write_text(json.dumps(identity, ensure_ascii=False) + "\n", encoding="utf-8")
    return FilmShots(out, tuple(shots))


def _write_pictures(
    film: Path, folder: Path, shots: Sequence[ShotRecord], progress: Progress | None
) -> list[ShotRecord]:
    """The shots with the times of the frames that are taken, which this second reading tells."""
    times: dict[int | None, float | None] = {None: None}
    wanted: dict[int, list[tuple[ShotRecord, str]]] = {}
    for shot in shots:
        if shot.kept:
            taken = (shot.start_frame, *shot.interior_frames, shot.end_frame)
            for index, which in zip(taken, picture_names(len(shot.interior_frames)), strict=True):
                wanted.setdefault(index, []).append((shot, which))
    done, read, total = 0, 0, sum(map(len, wanted.values()))
    frames = film_frames(film) if wanted else ()
    for frame in frames:
        read = frame.index + 1
        if frame.index in wanted:
            times[frame.index] = round(frame.seconds, 6)
        for shot, which in wanted.get(frame.index, ()):
            Image.fromarray(without_bars(frame.rgb(), shot.bars)).save(folder / f"{shot.name}_{which}.png")
            done += 1
            if progress:
                progress("pictures", done, total)
        if done == total:
            break
    if done < total:
        raise InputError(f"{film}: found {read} frames when it was read again, expected the same as before")
    return [replace(shot, start_seconds=times[shot.start_frame], end_seconds=times[shot.end_frame]) for shot in shots]


def file_identity(path: Path) -> dict[str, str | int]:
    """What tells a file from others without reading all of it. InputError for one that cannot be read."""
    try:
        with open(path, "rb") as file:
            length = file.seek(0, os.SEEK_END)
            file.seek(0)
            digest = hashlib.sha256(file.read(ENDS))
            file.seek(max(length - ENDS, 0))
            digest.update(file.read(ENDS))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}), expected a file") from None
    name = os.fsencode(path.name).decode("utf-8", "replace")
    return {"name": name, "bytes": length, "sha256_of_ends": digest.hexdigest()}


def _is_done(out: Path, identity: dict[str, str | int]) -> bool:
    """A folder takes its place whole, so that one which names the film has all of it."""
    try:
        return json.loads((out / FILM).read_text(encoding="utf-8")) == identity
    except (OSError, ValueError):
        return False


def _check_out(out: Path) -> None:
    if not out.exists() and not out.is_symlink():
        return
    if not out.is_dir():
        raise InputError(f"{out}: found a file, expected a folder or nothing")
    others = [entry.name for entry in out.iterdir() if not OURS.fullmatch(entry.name)]
    if others:
        raise InputError(f"{out}: found {min(others)} in it, expected an empty folder or an earlier ingest")
