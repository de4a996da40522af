"""The main job: a story goes in; pairs, clips, a film and a page come out."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from stage_jax import files
from stage_jax.errors import InputError
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
from stage_jax.generate.clips import fill_board
from stage_jax.generate.models import Models, load_models
from stage_jax.generate.pairs import PairSampler
from stage_jax.generate.shelf import NAME, Shelf
from stage_jax.generate.wan_clips import clip_sampler
from stage_jax.generate.wan_filler import WanFiller
from stage_jax.models.piece_tokenizer import Tokenizer
from stage_jax.story.board import Board, Pair
from stage_jax.story.pairs import read_pairs
from stage_jax.story.readers import read_story
from stage_jax.story.refiner import Refine, refine_board
from stage_jax.story.tables import listed_once
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

    model: a model folder, the shipped tiny one by default, or Wan's own or diffusers' folder. step2: a model folder. pairs: a
    folder of given start and end frames; then nothing is drawn. steps, guidance, landing: override the models' own. refine:
    writes the clip prompts that the story lacks, from the pairs. choices: which shots stay, and the like. What an earlier run
    made in `out` of the same things is not made again. InputError on anything wrong with what was given, before anything is
    written. What is left out of the story goes to `progress` as warnings."""
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
        models = _fitted(models, given, story, pairs)
        size = tuple(models.filler.sampling["size"])
        kept = locked_pairs(story, choices, out, size)
    wan = models.filler if isinstance(models.filler, WanFiller) else None
    for warning in (*warnings(models.clip_tokenizer, story, wan), *unused_references(story, why_unused(models))):
        progress.say(f"warning: {story_path}: {warning}")

    def report(label: str) -> Callable[[int, int], None]:
        return lambda done, total: progress.step(label, done, total)

    shelf, clips = Shelf(out / NAME), clip_sampler(models, steps, landing)
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


def _fitted(models: Models, given: Mapping[str, Pair], story: Story, pairs: Path) -> Models:
    """Wan's own models take pictures of any proportions: those of the first frame are the film's. Others have one size."""
    if not isinstance(models.filler, WanFiller):
        return models
    name = next(story.shot_name(scene, shot) for scene, shot in story.shots())
    try:
        filler = models.filler.fitted_to(given[name].start.shape[:2])
    except InputError as error:
        raise InputError(f"{pairs}: {name}_start: {error}") from None
    return dataclasses.replace(models, filler=filler)


def _made_of(story: Story) -> list[str]:
    """The files that a film's folder gets, so that what stands in their way is known before the work."""
    names = [story.shot_name(scene, shot) for scene, shot in story.shots()]
    frames = [f"frames/{name}_{end}.png" for name in names for end in ("start", "end")]
    return [*FILES, *storyboarder_names(names), *frames, *(f"clips/{name}.mp4" for name in names)]


def warnings(tokenizer: Tokenizer, story: Story, wan: WanFiller | None = None) -> Iterator[str]:
    """What the film will not have of its story: words that the filler does not read, seconds that it does not reach, an edit
    list that has no rate or no room for it, and fields that no model goes by; and of the filler's frames. tokenizer: the
    filler's. wan: the filler, where it is Wan's own."""
    captions = {story.shot_name(scene, shot): shot.video_prompt or shot.description for scene, shot in story.shots()}
    if unknown := tokenizer.unknown(captions.values()):
        yield f"left out {describe_unknown(unknown)}"
    if too_long := describe_too_long(tokenizer, captions):
        yield f"cut {too_long}"
    if wan:
        yield from _pace(wan, story)
    if editing_rate(frame_rate(story.fps)) is None:
        yield f"no film.edl: editing programs have no rate for a film of {story.fps:g} frames a second"
    if len(captions) > MOST_EVENTS:
        yield f"no film.edl: {len(captions):,} shots, an edit list has room for {MOST_EVENTS}"
    if fields := unused_fields(story, any_length=wan is not None):
        yield f"the models of this version do not go by {', '.join(fields)}"


def _pace(wan: WanFiller, story: Story) -> Iterator[str]:
    """Where a film has not the length or the frames that story and filler speak of."""
    most = wan.most_seconds()
    if long := [story.shot_name(scene, shot) for scene, shot in story.shots() if shot.seconds > most]:
        yield f"clips of {most:g} s, the longest that the filler makes: {listed_once(long)}"
    if story.fps < wan.how.fps:
        yield f"the film has {story.fps:g} frames a second of the {wan.how.fps} that the filler makes; the story's fps says so"


def unused_fields(story: Story, any_length: bool = False) -> list[str]:
    """Fields of a story that differ from their defaults, and that change neither pictures nor clips. any_length: whether the
    filler makes clips of any length, at any rate.

    With one that does not, `fps` sets the pace at which the film plays, but a clip keeps the frames that it was trained at.
    """
    ours = () if any_length else ("fps",)
    unused = {name for name in (*ours, "aspect") if getattr(story, name) != getattr(Story, name)}
    for _, shot in story.shots():
        unused |= {"seconds"} if shot.seconds != Shot.seconds and not any_length else set()
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
