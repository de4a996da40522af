"""Stories as TFDS records (ArrayRecord), written and read without TensorFlow: one example is one story.

The frames of an example are, shot after shot, the start frame, the end frame and a constant number of interior frames.
"""

from __future__ import annotations

import dataclasses
import json
import operator
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import UInt8

from data_pipeline.toy_cinema import render, world
from stage_jax.errors import InputError
from stage_jax.files import atomic_folder, system_errors
from stage_jax.story.types import story_to_json

FORMAT = "stage_jax.records/1"
LICENCE = "Apache-2.0"  # of the toy world's pictures
TEXTS = ("story", "truth", "split", "source", "licence")

Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class Example:
    """One story. frames: of all shots after one another; clips: likewise, with no frames at all if there are none.

    story: JSON of a Story. truth: JSON of what is known exactly, "{}" if nothing is.
    """

    story: str
    truth: str
    split: str
    source: str
    licence: str
    frames: UInt8[np.ndarray, "frames h w 3"]
    clips: UInt8[np.ndarray, "clip_frames h w 3"]
    shots: int


@dataclasses.dataclass(frozen=True)
class Shape:
    """What all examples of a data set share: height, width, interior frames a shot, frames a clip (0: no clips)."""

    height: int
    width: int
    interior: int
    clip_frames: int


class StageRecords(tfds.core.GeneratorBasedBuilder):
    """Writes examples that come from outside; `write_records` is its only caller."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, *, splits: Mapping[str, Iterable[Example]], shape: Shape, about: Mapping[str, Any], **kwargs):
        self._splits, self._shape, self._about = splits, shape, about
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        pictures = (None, self._shape.height, self._shape.width, 3)
        return tfds.core.DatasetInfo(
            builder=self,
            description="Stories: shots with start, end and interior frames.",
            features=tfds.features.FeaturesDict(
                {
                    **{name: tfds.features.Text() for name in TEXTS},
                    "frames": tfds.features.Tensor(shape=pictures, dtype=np.uint8, encoding="zlib"),
                    "clips": tfds.features.Tensor(shape=pictures, dtype=np.uint8, encoding="zlib"),
                    "shots": np.int64,
                }
            ),
            metadata=tfds.core.MetadataDict(format=FORMAT, **dataclasses.asdict(self._shape), about=dict(self._about)),
            disable_shuffling=True,
        )

    def _log_download_bytes(self) -> None:
        """Says nothing: the base class tells of a download, and there is none."""

    def _log_download_done(self) -> None:
        """Says nothing: the base class names the folder that is about to be renamed."""

    def _split_generators(self, dl_manager) -> dict[str, Iterator]:
        return {name: self._generate_examples(examples) for name, examples in self._splits.items()}

    def _generate_examples(self, examples: Iterable[Example]) -> Iterator[tuple[int, dict[str, Any]]]:
        for key, example in enumerate(examples):
            yield key, {field.name: getattr(example, field.name) for field in dataclasses.fields(example)}


def write_records(
    out_dir: str | Path, splits: Mapping[str, Iterable[Example]], shape: Shape, about: Mapping[str, Any]
) -> None:
    """Writes a folder of records, whole or not at all (`files.atomic_folder`).

    about: JSON values on how the records were made. Raises InputError if out_dir exists and holds anything, OSError if the
    disk is full.
    """
    out = Path(out_dir)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: found something there already, expected a new or empty folder")
    tfds.disable_progress_bar()  # callers report progress in their own way
    with system_errors(out), atomic_folder(out) as folder:
        builder = StageRecords(splits=splits, shape=shape, about=about, data_dir=str(folder), file_format="array_record")
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(compute_stats="skip"))
        for file in Path(builder.data_dir).iterdir():  # out of the folders of name and version that TFDS makes
            file.rename(folder / file.name)
        shutil.rmtree(folder / builder.name)


def toy_example(story: world.ToyStory, clips: bool, interior: int = 2, size: int = world.SIDE) -> Example:
    """The example of a toy story, pictures rendered."""
    frames, films = [], []
    for i in range(len(story.shots)):
        clip = render.render_clip(story, i, world.FRAMES, size)
        frames.append(clip[[0, world.FRAMES - 1, *world.interior_frames(story, i, interior)]])
        films.append(clip)
    return Example(
        story=json.dumps(story_to_json(story.to_story())),
        truth=json.dumps(story.truth()),
        split=story.split,
        source=f"toy cinema, split {story.split}, seed {story.seed}",
        licence=LICENCE,
        frames=np.concatenate(frames),
        clips=np.concatenate(films) if clips else np.zeros((0, size, size, 3), np.uint8),
        shots=len(story.shots),
    )


def write_toy_records(
    out_dir: str | Path,
    stories: Mapping[str, int],
    level: world.Level = world.EASY,
    seed: int = 0,
    clips: bool = True,
    progress: Progress | None = None,
    interior: int = 2,
    size: int = world.SIDE,
) -> None:
    """Draws and writes toy stories: `stories[split]` of each split, seeds `seed`, `seed` + 1, ... of its own stream.

    progress: called with (stories written, stories in all). Raises InputError on a split that is unknown or empty.
    """
    for split, n in stories.items():
        if split not in world.SPLITS or n < 1:
            raise InputError(f"toy records: found {n} stories for split {split!r}, expected 1 or more for one of "
                             f"{', '.join(world.SPLITS)}")  # fmt: skip
    total, done = sum(stories.values()), 0

    def examples(split: str, n: int) -> Iterator[Example]:
        nonlocal done
        for i in range(n):
            yield toy_example(world.random_story(seed + i, level, split), clips, interior, size)
            done += 1
            if progress:
                progress(done, total)

    write_records(
        out_dir,
        {split: examples(split, n) for split, n in stories.items()},
        Shape(size, size, interior, world.FRAMES if clips else 0),
        {"made_by": "toy_cinema", "level": level.name, "seed": seed, "fps": world.FPS},
    )


class RecordSource:
    """Random access to one split, as Grain wants it; may be sent to other processes.

    An item is a dict: `story`, `truth`, `split`, `source`, `licence` as str; `shots` as int; `frames` uint8
    [shots * (2 + interior), H, W, 3], of each shot the start, the end and the interior frames; `clips` uint8
    [shots * clip_frames, H, W, 3], no frames without clips. `metadata` says interior, clip_frames and more.
    """

    def __init__(self, directory: str | Path, split: str):
        self.directory, self.split = str(directory), split
        self._open()

    def _open(self) -> None:
        builder = _builder(self.directory)
        if self.split not in builder.info.splits:
            have = ", ".join(builder.info.splits)
            raise InputError(f"{self.directory}: found no split {self.split!r}, expected one of {have}")
        self.metadata = dict(builder.info.metadata)
        self._data = builder.as_data_source(split=self.split)

    def __getstate__(self) -> dict[str, str]:
        return {"directory": self.directory, "split": self.split}

    def __setstate__(self, state: dict[str, str]) -> None:
        self.__init__(**state)

    def __repr__(self) -> str:
        return f"RecordSource({self.directory!r}, {self.split!r})"

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        if not 0 <= operator.index(index) < len(self):  # ends a plain `for` over the source
            raise IndexError(f"{self!r}: found index {index}, expected 0 to {len(self) - 1}")
        record = self._data[index]
        return {
            **{name: bytes(record[name]).decode() for name in TEXTS},
            "frames": np.asarray(record["frames"]),
            "clips": np.asarray(record["clips"]),
            "shots": int(record["shots"]),
        }


def _builder(directory: str) -> tfds.core.DatasetBuilder:
    """The data set in a folder. Raises InputError on one that `write_records` did not make."""
    expected = "a folder of records, as `stage data` writes them"
    if not (Path(directory) / "dataset_info.json").is_file():
        raise InputError(f"{directory}: found no dataset_info.json, expected {expected}")
    try:
        builder = tfds.builder_from_directory(directory)
        found = (builder.info.metadata or {}).get("format")
    except Exception as error:  # TFDS raises many kinds on a damaged folder; all mean the same to the reader
        raise InputError(
            f"{directory}: found a folder that cannot be read ({type(error).__name__}), expected {expected}"
        ) from error
    if found != FORMAT:
        raise InputError(f"{directory}: found records of format {found!r}, expected {FORMAT!r}")
    return builder


def open_records(directory: str | Path, split: str) -> RecordSource:
    """Opens one split of a folder of records. Raises InputError on a folder or split that is not there or not ours."""
    return RecordSource(directory, split)
