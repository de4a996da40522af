"""Stories as TFDS records (ArrayRecord), written and read without TensorFlow: one example is one story.

The frames of an example are, shot after shot, the start frame, the end frame and a constant number of interior frames. Its
preferences are pairs that are worse than the true pair of their shot, and why.
"""

from __future__ import annotations

import bisect
import contextlib
import dataclasses
import itertools
import operator
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import UInt8

from stage_jax.errors import InputError
from stage_jax.files import atomic_folder, system_errors

FORMAT = "stage_jax.records/1"
TEXTS = ("story", "truth", "split", "source", "licence", "preferences")
PICTURES = ("frames", "clips", "rejected", "references")
FIELDS = (*TEXTS, *PICTURES, "masks", "shots")
LATER = ("preferences", "rejected", "references", "masks")  # fields that records of this format written earlier do not have


@dataclasses.dataclass(frozen=True)
class Example:
    """One story. frames: of all shots after one another; clips: likewise, with no frames at all if there are none.

    story: JSON of a Story. truth: JSON of what is known exactly, "{}" if nothing is. preferences: JSON of a list of
    {"shot": index, "why": ...}; frames 2 k and 2 k + 1 of `rejected` are the pair that preference k rejects; it chooses the
    shot's own. references: as many pictures of each character as of any other, in the story's order. masks: of each of
    `frames`, 1 + the index of the character that is there, 0 elsewhere; 255 all over a frame of which nobody knows.
    """

    story: str
    truth: str
    split: str
    source: str
    licence: str
    frames: UInt8[np.ndarray, "frames h w 3"]
    clips: UInt8[np.ndarray, "clip_frames h w 3"]
    shots: int
    preferences: str = "[]"
    rejected: UInt8[np.ndarray, "rejected_frames h w 3"] | None = None
    references: UInt8[np.ndarray, "reference_pictures h w 3"] | None = None
    masks: UInt8[np.ndarray, "frames h w"] | None = None


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

    def __init__(self, *, splits: Mapping[str, Any], shape: Shape, about: Mapping[str, Any], **kwargs):
        self._splits, self._shape, self._about = splits, shape, about
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Stories: shots with start, end and interior frames.",
            features=_features(self._shape.height, self._shape.width),
            metadata=tfds.core.MetadataDict(format=FORMAT, **dataclasses.asdict(self._shape), about=dict(self._about)),
            disable_shuffling=True,
        )

    def _log_download_bytes(self) -> None:
        """Says nothing: the base class tells of a download, and there is none."""

    def _log_download_done(self) -> None:
        """Says nothing: the base class names the folder that is about to be renamed."""

    def _split_generators(self, dl_manager) -> dict[str, Any]:
        return {
            name: self._generate_examples(examples, name) if isinstance(examples, Iterable) else examples
            for name, examples in self._splits.items()
        }

    def _generate_examples(self, examples: Iterable[Example], split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        key = -1
        for key, example in enumerate(examples):
            yield key, written(example)
        if key < 0:
            raise InputError(f"records: found no example for split {split!r}, expected 1 or more")


def written(example: Example) -> dict[str, Any]:
    """An example as its record has it: what nobody knows is empty."""
    values = {field.name: getattr(example, field.name) for field in dataclasses.fields(example)}
    none = np.zeros((0, *example.frames.shape[1:]), np.uint8)
    absent = {"rejected": none, "references": none, "masks": none[..., 0]}
    return values | {name: empty for name, empty in absent.items() if values[name] is None}


def _features(height: int | None, width: int | None) -> tfds.features.FeaturesDict:
    pictures = tfds.features.Tensor(shape=(None, height, width, 3), dtype=np.uint8, encoding="zlib")
    masks = tfds.features.Tensor(shape=(None, height, width), dtype=np.uint8, encoding="zlib")
    texts = {name: tfds.features.Text() for name in TEXTS}
    return tfds.features.FeaturesDict(texts | dict.fromkeys(PICTURES, pictures) | {"masks": masks, "shots": np.int64})


def write_records(
    out_dir: str | Path,
    splits: Mapping[str, Any],
    shape: Shape,
    about: Mapping[str, Any],
    beam_options: Any = None,
) -> None:
    """Writes a folder of records, whole or not at all (`files.atomic_folder`).

    splits: of each an iterable of Examples; or, for Apache Beam under `beam_options`, a PTransform that makes pairs of a number
    from 0 and what `written` makes of an Example. about: JSON values on how the records were made. Raises InputError if out_dir
    exists and holds anything, OSError if the disk is full.
    """
    out = Path(out_dir)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: found something there already, expected a new or empty folder")
    tfds.disable_progress_bar()  # callers report progress in their own way
    with system_errors(out), atomic_folder(out) as folder:
        builder = StageRecords(splits=splits, shape=shape, about=about, data_dir=str(folder), file_format="array_record")
        config = tfds.download.DownloadConfig(compute_stats="skip", beam_options=beam_options)
        builder.download_and_prepare(download_config=config)
        for file in Path(builder.data_dir).iterdir():  # out of the folders of name and version that TFDS makes
            file.rename(folder / file.name)
        for left in [path for path in folder.iterdir() if path.is_dir()]:  # those, and one for downloads
            shutil.rmtree(left)


class RecordSource:
    """Random access to one split, as Grain wants it; may be sent to other processes.

    An item is a dict: `story`, `truth`, `split`, `source`, `licence`, `preferences` as str; `shots` as int; `frames` uint8
    [shots * (2 + interior), H, W, 3], of each shot the start, the end and the interior frames; `clips` uint8
    [shots * clip_frames, H, W, 3], no frames without clips; `rejected` uint8 [2 * preferences, H, W, 3]; `references`
    uint8 [references, H, W, 3]; `masks` uint8 [frames, H, W]; the last three are empty where nobody knows. `metadata` says
    interior, clip_frames and more. fields: those that are read; most of the time goes into pictures.
    """

    def __init__(self, directory: str | Path, split: str, fields: Sequence[str] = FIELDS):
        self.directory, self.split, self.fields = str(directory), split, tuple(fields)
        builder = _builder(self.directory)
        if self.split not in builder.info.splits:
            have = ", ".join(builder.info.splits)
            raise InputError(f"{self.directory}: found no split {self.split!r}, expected one of {have}")
        self.info = builder.info.splits[self.split]
        if not self.info.num_examples:
            raise InputError(f"{self.directory}: found no record in split {self.split!r}, expected 1 or more")
        self.metadata = dict(builder.info.metadata)
        stored = _check_schema(self.directory, dict(builder.info.features.items()), self.metadata)
        self._read = tfds.features.FeaturesDict({name: stored[name] for name in self.fields if name in stored})
        raw = tfds.decode.DeserializeMethod.RAW_BYTES
        with self._whole_files():
            self._data = builder.as_data_source(split=self.split, deserialize_method=raw)

    def __reduce__(self) -> tuple:
        return RecordSource, (self.directory, self.split, self.fields)

    def __repr__(self) -> str:
        return f"RecordSource({self.directory!r}, {self.split!r})"

    def __len__(self) -> int:
        return self.info.num_examples

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        if not 0 <= operator.index(index) < len(self):  # ends a plain `for` over the source
            raise IndexError(f"{self!r}: found index {index}, expected 0 to {len(self) - 1}")
        with self._whole_files(operator.index(index)):
            record = self._read.deserialize_example_np(self._data[index])
        self._check_lengths(operator.index(index), record)
        return {name: self._value(name, record) for name in self.fields}

    def _check_lengths(self, index: int, record: dict[str, Any]) -> None:
        """InputError for pictures that are not as many as the schema says: those of another size are read as other ones."""
        if "shots" not in record:
            return
        counts = {"frames": 2 + self.metadata["interior"], "clips": self.metadata["clip_frames"]}
        for name, count in counts.items():
            expected = int(record["shots"]) * count
            if name in record and len(record[name]) != expected:
                found = f"found {len(record[name])} pictures in {name}"
                raise InputError(f"{self.directory}: record {index} of {self.split}: {found}, expected {expected}")

    def _value(self, name: str, record: dict[str, Any]) -> Any:
        if name in TEXTS:
            return bytes(record[name]).decode() if name in record else "[]"
        if name in (*PICTURES, "masks"):
            none = (0, self.metadata["height"], self.metadata["width"], 3)[: 3 if name == "masks" else 4]
            return np.asarray(record[name]) if name in record else np.zeros(none, np.uint8)
        return int(record[name])

    @contextlib.contextmanager
    def _whole_files(self, index: int = 0) -> Iterator[None]:
        """InputError that names the file that record `index` is in, for what ArrayRecord (which checks its hashes) and
        TFDS raise on a file that is cut short, damaged or another's."""
        try:
            yield
        except (MemoryError, OSError):  # of the machine, not of the file
            raise
        except Exception as error:  # RuntimeError, ValueError and protobuf's own, which is neither
            shard = bisect.bisect_right(list(itertools.accumulate(self.info.shard_lengths)), index)
            reason = " ".join(str(error).split())[:120]
            raise InputError(
                f"{self.info.filepaths[shard]}: record {index} cannot be read ({reason}), expected a whole file"
            ) from error


def _check_schema(directory: str, stored: Mapping[str, Any], metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """The features of a data set, if they are those that are read: InputError names the first that is not."""
    for name, wanted in _features(metadata.get("height"), metadata.get("width")).items():
        found = stored.get(name)
        if found is None and name in LATER:
            continue
        if found is None or (found.np_dtype, found.shape) != (wanted.np_dtype, wanted.shape):
            told = "nothing" if found is None else f"{np.dtype(found.np_dtype).name} {found.shape}"
            raise InputError(
                f"{directory}: field {name!r}: found {told}, expected {np.dtype(wanted.np_dtype).name} {wanted.shape}"
            )
    return stored


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


def open_records(directory: str | Path, split: str, fields: Sequence[str] = FIELDS) -> RecordSource:
    """Opens one split of a folder of records. Raises InputError on a folder or split that is not there or not ours."""
    return RecordSource(directory, split, fields)


def open_splits(directory: str | Path) -> dict[str, RecordSource]:
    """All splits of a folder of records, by their names. Raises InputError as `open_records` does."""
    return {split: RecordSource(directory, split) for split in _builder(str(directory)).info.splits}
