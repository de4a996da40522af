"""What people get besides pictures, clips, film and page: to print, to cut, to draw on, to time."""

from __future__ import annotations

from pathlib import Path

from stage_jax import files
from stage_jax.film.animatic import animatic_frames
from stage_jax.film.fcpxml import fcpxml_text
from stage_jax.film.pdf import storyboard_pdf
from stage_jax.film.storyboarder import write_storyboarder
from stage_jax.film.timeline import edl_text, otio_text
from stage_jax.film.video import film_scale, write_mp4
from stage_jax.story.board import Board

NAMES = ("animatic.mp4", "storyboard.pdf", "film.otio", "film.edl", "film.fcpxml")


def write_deliverables(board: Board, folder: Path) -> None:
    """Writes the files of `NAMES`, and Storyboarder's folder, into `folder`; the board has a shot at least. There is
    no film.edl where no timecode fits the film (`edl_text`)."""
    write_mp4(folder / "animatic.mp4", animatic_frames(board, film_scale(*board.shots[0].pair.start.shape[:2])), board.fps)
    files.write_bytes(folder / "storyboard.pdf", storyboard_pdf(board))
    files.write_text(folder / "film.otio", otio_text(board))
    if (edl := edl_text(board)) is not None:
        files.write_text(folder / "film.edl", edl)
    files.write_text(folder / "film.fcpxml", fcpxml_text(board))
    write_storyboarder(board, folder)
