"""Boards while a run trains: held-out stories, drawn as `stage board` draws them, under the true ones."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict
from PIL import Image

from data_pipeline.records import open_records
from stage_jax.errors import InputError
from stage_jax.generate.board import draw_board
from stage_jax.generate.clip_embedder import read_clip_for
from stage_jax.generate.models import CaptionEncoder, Denoiser, Models, read_captions, read_codec
from stage_jax.generate.pairs import PairSampler, sampled_pairs
from stage_jax.models.stacking import with_params
from stage_jax.story.types import Story, story_from_json
from stage_jax.training.state import Params
from stage_jax.training.tasks.step2 import TEXT, STEP2Task, part_of

SEED = 0  # of all boards: pictures of different steps compare
GAP = 2  # pixels between frames


@dataclasses.dataclass(frozen=True, eq=False)
class LentSampler(PairSampler):
    """A sampler whose program takes the parameters as an argument, so that it is compiled once for a whole run."""

    program: Callable[..., Any] | None = None
    params: Params | None = None

    @property
    def _sample(self):
        return functools.partial(self.program, self.params)


class EvaluationBoards:
    """`config.boards`: every (steps), split, stories (how many of the split's first). Writes `boards/STEP.png` in the run's
    folder: of each story the true frames in one row, the drawn ones below, start and end of every shot side by side."""

    def __init__(self, config: ConfigDict, task: Any, workdir: Path):
        """InputError for a task that draws no boards, and for a run of several processes, each of which has but its share of
        the parameters."""
        if not isinstance(task, STEP2Task):
            raise InputError(f"config.boards: found with config.task {config.task}, expected step2 or dpo, without config.lora")
        if jax.process_count() > 1:
            raise InputError(f"config.boards: found {jax.process_count()} processes, expected one")
        self._every, self._task, self._folder = config.boards.every, task, workdir / "boards"
        records = open_records(config.data.dir, config.boards.split, ("story", "frames", "shots"))
        self._stories = [_told(record) for record in itertools.islice(records, config.boards.stories)]
        self._sampling = {"solver": "euler"} | config.sampling.to_dict()
        folder = task.init_folder or task.vae_folder
        self._codec, self._clip = read_codec(task.vae_folder), read_clip_for(task.recipe, folder)
        self._captions = None if task.tokenizer else read_captions(folder)
        self._program = jax.jit(lambda params, *arguments: sampled_pairs(self._denoiser(params), *arguments))

    def _denoiser(self, params: Params) -> Denoiser:
        return Denoiser(with_params(self._task.dit, params), self._sampling, self._task.recipe)

    def _models(self, params: Params) -> Models:
        """Everything that a board is drawn with; the text encoder, where it is trained along, with these parameters."""
        task, captions = self._task, self._captions
        if captions is None:
            captions = CaptionEncoder(task.tokenizer, with_params(task.text, part_of(params, TEXT)))
        return Models(self._codec, captions, None, self._denoiser(self._task.dit_params(params)), {}, self._clip)

    def is_due(self, step: int) -> bool:
        return step % self._every == 0

    def __call__(self, params: Params, step: int) -> Path:
        """Draws with these parameters of the task; returns the picture's path."""
        models = self._models(params)
        sampler = LentSampler(models.step2, models.captions, program=self._program, params=self._task.dit_params(params))
        rows = []
        for story, true in self._stories:
            board = draw_board(models, story, SEED, sampler=sampler)
            drawn = [frame for shot in board.shots for frame in (shot.pair.start, shot.pair.end)]
            rows += [list(true), drawn]
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{step:08d}.png"
        Image.fromarray(sheet(rows)).save(path)
        return path


def sheet(rows: list[list[UInt8[np.ndarray, "h w 3"]]]) -> UInt8[np.ndarray, "H W 3"]:
    """Frames of one size in rows, on white."""
    h, w, _ = rows[0][0].shape
    columns = max(map(len, rows))
    made = np.full((len(rows) * (h + GAP) + GAP, columns * (w + GAP) + GAP, 3), 255, np.uint8)
    for row, frames in enumerate(rows):
        for column, frame in enumerate(frames):
            top, left = GAP + row * (h + GAP), GAP + column * (w + GAP)
            made[top : top + h, left : left + w] = frame
    return made


def _told(record: Mapping[str, Any]) -> tuple[Story, UInt8[np.ndarray, "frames h w 3"]]:
    """A story and its true start and end frames."""
    frames = record["frames"].reshape(record["shots"], -1, *record["frames"].shape[1:])[:, :2]
    return story_from_json(json.loads(record["story"]), "records"), frames.reshape(-1, *frames.shape[2:])
