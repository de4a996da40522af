"""The frames of a board as PNG files."""

from __future__ import annotations

from pathlib import Path

from stage_jax import files
from stage_jax.film.earlier import frame_file
from stage_jax.film.png import write_png
from stage_jax.story.board import Board


def write_frames(board: Board, folder: Path, out: Path | None = None) -> None:
    """Writes `frames/`, and `candidates/` if there are any, into `folder`. out: where an earlier run's board stands: the files
    of pairs that were kept are those, byte for byte."""
    (folder / "frames").mkdir()
    for shot in board.shots:
        for which in ("start", "end"):
            target = frame_file(folder, shot.name, which)
            if shot.source == "kept" and out is not None:
                files.write_bytes(target, frame_file(out, shot.name, which).read_bytes())
            else:
                write_png(target, getattr(shot.pair, which))
    for shot in board.shots:
        for other in shot.candidates:
            (folder / "candidates").mkdir(exist_ok=True)
            for which in ("start", "end"):
                write_png(folder / "candidates" / f"{shot.name}_{other.number}_{which}.png", getattr(other.pair, which))
