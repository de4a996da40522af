"""The main job: a story goes in; pairs, clips, a film and a page come out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from stage_jax import files
from stage_jax.film import deliverables
from stage_jax.film.choices import Choices, check_names, edits_of, locked_pairs, with_locks
from stage_jax.film.earlier import earlier_files
from stage_jax.film.frames import write_frames
from stage_jax.film.html import board_html
from stage_jax.film.manifest import manifest
from stage_jax.film.png import write_png
from stage_jax.film.references import unused_references, why_unused
from stage_jax.film.sheet import contact_sheet
from stage_jax.film.storyboarder import storyboarder_names
from stage_jax.film.timecode import editing_rate, frame_rate
from stage_jax.film.timeline import MOST_EVENTS
from stage_jax.film.video import film_scale, write_mp4
from stage_jax.generate.board import check_words, describe_too_long, describe_unknown, draw_board, given_board
from stage_jax.generate.clips import ClipSampler, fill_board
from stage_jax.generate.models import load_models
from stage_jax.generate.pairs import PairSampler
from stage_jax.generate.shelf import NAME, Shelf
from stage_jax.models.piece_tokenizer import Tokenizer
from stage_jax.story.board import Board
from stage_jax.story.pairs import read_pairs
from stage_jax.story.readers import read_story
from stage_jax.story.refiner import Refine, refine_board
from stage_jax.story.types import Shot, Story, story_to_json

TINY = "assets/tiny"
FILES = ("story.json", "film.mp4", "sheet.png", "board.html", "manifest.json", *deliverables.NAMES)


@runtime_checkable
class Reports(Protocol):
    def step(self, label: str, done: int, total: int) -> None: ...

    def say(self, line: str) -> None: ...


def make_film(
    story_path: Path,
    out: Path,
    progress: Reports,
    *,
    model: Path | None = None,
    step2: Path | None = None,
    pairs: Path | None = None,
    seed: int = 0,
    steps: int | None = None,
    guidance: float | None = None,
    landing: int | None = None,
    refine: Refine | None = None,
    choices: Choices | None = None,
) -> Board:
    """Makes a film of a story in the folder `out` and returns its board, clips included.

    model, step2: model folders, the shipped tiny one by default. pairs: a folder of given start and end frames; then nothing
    is drawn. steps, guidance, landing: override the models' own. refine: writes the clip prompts that the story lacks, from
    the pairs. choices: which shots stay, and the like. What an earlier run made in `out` of the same things is not made again.
    InputError on anything wrong with what was given, before anything is written. What is left out of the story goes to
    `progress` as warnings."""
    choices = choices or Choices()
    story = read_story(story_path)
    check_names(choices, story)
    story = with_locks(story, choices.lock)
    given = None if pairs is None else read_pairs(pairs, story)
    folder = model or Path(str(resources.files("stage_jax") / TINY))
    models = load_models(folder, step2, draw=given is None)
    if given is None:
        check_words(models, story, str(story_path))
        edits = edits_of(choices, story, story_path.parent, out, tuple(models.step2.sampling["size"]))
    else:
        size = tuple(models.filler.sampling["size"])
        kept = locked_pairs(story, choices, out, size)
    for warning in (*warnings(models.captions.tokenizer, story), *unused_references(story, why_unused(models))):
        progress.say(f"warning: {story_path}: {warning}")

    def report(label: str) -> Callable[[int, int], None]:
        return lambda done, total: progress.step(label, done, total)

    shelf, clips = Shelf(out / NAME), ClipSampler(models, steps, landing)
    sampling = {"dit": clips.settings}
    files.remove_partial(out)
    with files.staged_folder(out, _made_of(story), earlier_files(out)) as staging:
        if given is None:
            shelf = edits.shelf
            drawing = PairSampler(models.step2, models.captions, steps, guidance)
            sampling["step2"] = drawing.settings
            board = draw_board(models, story, seed, sampler=drawing, progress=report("pairs"), edits=edits)
        else:
            board = given_board(story, given, seed, size, kept)
        if refine is not None:
            board = refine_board(board, refine, progress=report("prompts"))
        board = fill_board(board, clips, progress=report("clips"), shelf=shelf)
        write_board(board, staging, dict(models.hashes), {"seed": seed, "sampling": sampling}, out)
    shelf.tidy()
    return board


def _made_of(story: Story) -> list[str]:
    """The files that a film's folder gets, so that what stands in their way is known before the work."""
    names = [story.shot_name(scene, shot) for scene, shot in story.shots()]
    frames = [f"frames/{name}_{end}.png" for name in names for end in ("start", "end")]
    return [*FILES, *storyboarder_names(names), *frames, *(f"clips/{name}.mp4" for name in names)]


def warnings(tokenizer: Tokenizer, story: Story) -> Iterator[str]:
    """What the film will not have of its story: words that the filler does not read, an edit list that has no rate or no room
    for it, and fields that no model goes by."""
    captions = {story.shot_name(scene, shot): shot.video_prompt or shot.description for scene, shot in story.shots()}
    if unknown := tokenizer.unknown(captions.values()):
        yield f"left out {describe_unknown(unknown)}"
    if too_long := describe_too_long(tokenizer, captions):
        yield f"cut {too_long}"
    if editing_rate(frame_rate(story.fps)) is None:
        yield f"no film.edl: editing programs have no rate for a film of {story.fps:g} frames a second"
    if len(captions) > MOST_EVENTS:
        yield f"no film.edl: {len(captions):,} shots, an edit list has room for {MOST_EVENTS}"
    if fields := unused_fields(story):
        yield f"the models of this version do not go by {', '.join(fields)}"


def unused_fields(story: Story) -> list[str]:
    """Fields of a story that differ from their defaults, and that change neither pictures nor clips.

    `fps` sets the pace at which the film plays, but a clip keeps the frames that the filler was trained at.
    """
    unused = {name for name in ("fps", "aspect") if getattr(story, name) != getattr(Story, name)}
    for _, shot in story.shots():
        unused |= {"seconds"} if shot.seconds != Shot.seconds else set()
        unused |= {f"{end}.prompt" for end, frame in (("start", shot.start), ("end", shot.end)) if frame.prompt}
    return sorted(unused)


def write_board(
    board: Board, folder: Path, model_hashes: dict[str, str], settings: dict, out: Path | None = None
) -> None:
    """The board folder: story, frames, clips, film, contact sheet, the other deliverables, page, manifest. out: as
    `write_frames`."""
    scale = film_scale(*board.shots[0].pair.start.shape[:2])
    write_frames(board, folder, out)
    (folder / "clips").mkdir()
    files.write_text(folder / "story.json", json.dumps(story_to_json(board.story), indent=1, ensure_ascii=False) + "\n")
    for shot in board.shots:
        write_mp4(folder / "clips" / f"{shot.name}.mp4", shot.clip.read(), board.fps, scale=scale)
    write_mp4(folder / "film.mp4", frames_of(board), board.fps, scale=scale)
    write_png(folder / "sheet.png", contact_sheet(board))
    deliverables.write_deliverables(board, folder)
    made = {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    facts = manifest(board, model_hashes=model_hashes, settings=settings | {"film_scale": scale}, files=made)
    clips = {shot.name: (folder / "clips" / f"{shot.name}.mp4").read_bytes() for shot in board.shots}
    files.write_text(folder / "board.html", board_html(board, facts, (folder / "film.mp4").read_bytes(), clips))
    files.write_text(folder / "manifest.json", json.dumps(facts, indent=2) + "\n")


def frames_of(board: Board) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """All frames of the film, one at a time."""
    for shot in board.shots:
        yield from shot.clip.read()
