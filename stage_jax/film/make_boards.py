"""Boards alone: stories go in; pairs, a contact sheet and a page come out, without clips."""

from __future__ import annotations

import functools
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from stage_jax import files
from stage_jax.errors import InputError
from stage_jax.film.choices import Choices, check_names, edits_of, with_locks
from stage_jax.film.earlier import earlier_files
from stage_jax.film.frames import write_frames
from stage_jax.film.html import board_html
from stage_jax.film.make import TINY, Reports
from stage_jax.film.manifest import manifest
from stage_jax.film.png import write_png
from stage_jax.film.references import unused_references, why_unused
from stage_jax.film.sheet import contact_sheet
from stage_jax.generate.board import check_words, draw_board
from stage_jax.generate.models import Models, load_models
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
    choices: Choices | None = None,
    share: tuple[int, int] = (0, 1),
) -> list[Board]:
    """Draws the boards of stories with one compiled program: of one story in `out`, of several in folders of `out` that are
    called as their files.

    model, step2, seed, steps, guidance, choices: as `make_film`. share: (k, n) draws the stories k, k + n, k + 2n, ... alone:
    the part of process k of n, which need not know of each other. InputError on anything wrong with a story before it is drawn;
    of several stories that one is left out, which is said at once and, after the others, as an InputError."""
    choices = choices or Choices()
    if twice := [name for name, count in Counter(path.stem for path in paths).items() if count > 1]:
        raise InputError(f"stories: found {twice[0]!r} more than once, expected files of different names")
    if len(paths) > 1 and (choices.named() or choices.pairs):
        named = choices.named()[0][0] if choices.named() else "--pairs"
        raise InputError(f"{named}: found with {len(paths)} stories, expected one")
    mine = paths[share[0] :: share[1]]
    models = load_models(model or Path(str(resources.files("stage_jax") / TINY)), step2, fill=False)
    sampler = PairSampler(models.step2, models.captions, steps, guidance)
    boards, failed = [], []
    for path in mine:
        place, label = (out, "pairs") if len(paths) == 1 else (out / path.stem, f"pairs of {path.stem}")
        try:
            boards.append(_make(path, place, models, sampler, seed, choices, progress, label))
        except (InputError, OSError) as error:
            if len(paths) == 1:
                raise
            failed.append(path)
            progress.say(f"failed: {path}: {' '.join(str(error).split())}")
    if failed:
        raise InputError(f"{len(failed)} of {len(mine)} stories failed: {', '.join(map(str, failed))}")
    return boards


def _make(
    path: Path,
    out: Path,
    models: Models,
    sampler: PairSampler,
    seed: int,
    choices: Choices,
    progress: Reports,
    label: str,
) -> Board:
    story = read_story(path)
    check_names(choices, story)
    story = with_locks(story, choices.lock)
    check_words(models, story, str(path))
    edits = edits_of(choices, story, path.parent, out, tuple(models.step2.sampling["size"]))
    for warning in unused_references(story, why_unused(models)):
        progress.say(f"warning: {path}: {warning}")
    report = functools.partial(progress.step, label)
    files.remove_partial(out)
    with files.staged_folder(out, made_of(story), earlier_files(out)) as staging:
        board = draw_board(models, story, seed, sampler=sampler, progress=report, edits=edits)
        write_pairs(board, staging, dict(models.hashes), {"seed": seed, "sampling": {"step2": sampler.settings}}, out)
    edits.shelf.tidy()
    return board


def made_of(story: Story) -> list[str]:
    """The files that a board's folder gets."""
    names = [story.shot_name(scene, shot) for scene, shot in story.shots()]
    return [*FILES, *(f"frames/{name}_{end}.png" for name in names for end in ("start", "end"))]


def write_pairs(board: Board, folder: Path, model_hashes: dict[str, str], settings: dict[str, Any], out: Path) -> None:
    """Story, frames, contact sheet, page, manifest. out: as `write_frames`."""
    write_frames(board, folder, out)
    files.write_text(folder / "story.json", json.dumps(story_to_json(board.story), indent=1, ensure_ascii=False) + "\n")
    write_png(folder / "sheet.png", contact_sheet(board))
    made = {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    facts = manifest(board, model_hashes=model_hashes, settings=settings, files=made)
    files.write_text(folder / "board.html", board_html(board, facts))
    files.write_text(folder / "manifest.json", json.dumps(facts, indent=2) + "\n")
