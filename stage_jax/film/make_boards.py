"""Boards alone: stories go in; pairs, a contact sheet and a page come out, without clips."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from stage_jax import files
from stage_jax.errors import InputError
from stage_jax.film.html import board_html
from stage_jax.film.make import TINY, Reports
from stage_jax.film.manifest import manifest
from stage_jax.film.png import write_png
from stage_jax.film.sheet import contact_sheet
from stage_jax.generate.board import check_words, draw_board
from stage_jax.generate.models import load_models
from stage_jax.generate.pairs import PairSampler
from stage_jax.story.board import Board
from stage_jax.story.readers import read_story
from stage_jax.story.types import Story, story_to_json

FILES = ("story.json", "sheet.png", "board.html", "manifest.json")


def make_boards(
    paths: Sequence[Path],
    out: Path,
    progress: Reports,
    *,
    model: Path | None = None,
    step2: Path | None = None,
    seed: int = 0,
    steps: int | None = None,
    guidance: float | None = None,
) -> list[Board]:
    """Draws the boards of stories with one compiled program: of one story in `out`, of several in folders of `out` that are
    called as their files.

    model, step2, seed, steps, guidance: as `make_film`. InputError on anything wrong with any story, or where two have one
    name, before anything is drawn."""
    stories = [read_story(path) for path in paths]
    if twice := [name for name, count in Counter(path.stem for path in paths).items() if count > 1]:
        raise InputError(f"stories: found {twice[0]!r} more than once, expected files of different names")
    models = load_models(model or Path(str(resources.files("stage_jax") / TINY)), step2, fill=False)
    for path, story in zip(paths, stories, strict=True):
        check_words(models, story, str(path))
    sampler = PairSampler(models.step2, models.captions, steps, guidance)
    given = ({"steps": steps} if steps else {}) | ({} if guidance is None else {"guidance": guidance})
    settings = {"seed": seed, "sampling": {"step2": dict(models.step2.sampling) | given}}
    boards = []
    for path, story in zip(paths, stories, strict=True):
        label = "pairs" if len(paths) == 1 else f"pairs of {path.stem}"

        def report(done: int, total: int, label: str = label) -> None:
            progress.step(label, done, total)

        with files.staged_folder(out if len(paths) == 1 else out / path.stem, made_of(story)) as staging:
            boards.append(draw_board(models, story, seed, sampler=sampler, progress=report))
            write_pairs(boards[-1], staging, dict(models.hashes), settings)
    return boards


def made_of(story: Story) -> list[str]:
    """The files that a board's folder gets."""
    names = [story.shot_name(scene, shot) for scene, shot in story.shots()]
    return [*FILES, *(f"frames/{name}_{end}.png" for name in names for end in ("start", "end"))]


def write_pairs(board: Board, folder: Path, model_hashes: dict[str, str], settings: dict[str, Any]) -> None:
    """Story, frames, contact sheet, page, manifest."""
    (folder / "frames").mkdir()
    files.write_text(folder / "story.json", json.dumps(story_to_json(board.story), indent=1, ensure_ascii=False) + "\n")
    for shot in board.shots:
        for which in ("start", "end"):
            write_png(folder / "frames" / f"{shot.name}_{which}.png", getattr(shot.pair, which))
    write_png(folder / "sheet.png", contact_sheet(board))
    made = {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    facts = manifest(board, model_hashes=model_hashes, settings=settings, files=made)
    files.write_text(folder / "board.html", board_html(board, facts))
    files.write_text(folder / "manifest.json", json.dumps(facts, indent=2) + "\n")
