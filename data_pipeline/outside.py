"""Stories from outside into records: fitted to the nearest of a few sizes, a folder of records for each size."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from data_pipeline import records
from data_pipeline.clips import StoryClips
from data_pipeline.records import Shape, write_records
from stage_jax.errors import InputError
from stage_jax.files import atomic_folder
from stage_jax.story.example import Example
from stage_jax.story.masks import UNKNOWN, fit_mask
from stage_jax.story.pictures import fit_picture
from stage_jax.story.types import story_to_json

TRAIN, VALIDATION = "train", "validation"
Progress = Callable[[int, int], None]
Size = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Source:
    """A story that can be loaded. name: unique. first: its first picture, which decides the size. whole: what the story is a
    part of, such as a film; its parts are in one split. interior: frames of each shot between start and end. clips: of its
    shots, whose frames are then those of the clips; of all sources or of none, in one form."""

    name: str
    first: Path
    load: Callable[[], Example]
    whole: str = ""
    interior: int = 0
    clips: StoryClips | None = None


def write_sources(
    sources: Sequence[Source],
    out: Path,
    sizes: Sequence[Size],
    *,
    about: Mapping[str, Any],
    validation: float = 0.0,
    progress: Progress | None = None,
) -> None:
    """Writes stories as records, whole or not at all: to `out` for one size (height, width), else to `out/HEIGHTxWIDTH`, each
    size that some story is nearest to in aspect. Every shot has as many interior frames as the source with the fewest.

    validation: share of the stories that are held out, by a hash of their names or wholes, which more stories do not change.
    InputError if `out` holds anything, or for what is wrong with a story."""
    done = 0

    def examples(shape: Shape, split: str, chosen: Sequence[Source]) -> Iterator[records.Example]:
        nonlocal done
        for source in chosen:
            yield record_of(source, split, shape)
            done += 1
            if progress:
                progress(done, len(sources))

    write_groups(sources, out, sizes, examples, about=about, validation=validation)


def write_groups(
    sources: Sequence[Source],
    out: Path,
    sizes: Sequence[Size],
    examples: Callable[[Shape, str, Sequence[Source]], Any],
    *,
    about: Mapping[str, Any],
    validation: float = 0.0,
    beam_options: Any = None,
) -> None:
    """`write_sources` with `examples` of a shape, a split and its sources, in whatever form `write_records` takes them."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: found something there already, expected a new or empty folder")
    groups: dict[Size, dict[str, list[Source]]] = {}
    for source in sources:
        size = sizes[0] if len(sizes) == 1 else nearest_size(*_picture_size(source.first), sizes)
        groups.setdefault(size, {}).setdefault(_split(source.whole or source.name, validation), []).append(source)
    interior = min((source.interior for source in sources), default=0)
    clip_frames = max((source.clips.form.frames for source in sources if source.clips), default=0)
    with atomic_folder(out) as building:
        for size, splits in groups.items():
            folder = building if len(sizes) == 1 else building / f"{size[0]}x{size[1]}"
            shape = Shape(*size, interior, clip_frames)
            told = {split: examples(shape, split, chosen) for split, chosen in splits.items()}
            write_records(folder, told, shape, about, beam_options)


def nearest_size(height: int, width: int, sizes: Sequence[Size]) -> Size:
    """The size whose aspect is nearest: least is cut off."""
    return min(sizes, key=lambda size: abs(math.log(size[0] / size[1] * width / height)))


def record_of(source: Source, split: str, shape: Shape) -> records.Example:
    """A story as it is written; pictures are fitted to the height and width of `shape`."""
    example, size = source.load(), (shape.height, shape.width)

    def fitted(pictures: Sequence[np.ndarray]) -> np.ndarray:
        done = [fit_picture(picture, size) for picture in pictures]
        return np.stack(done) if done else np.zeros((0, *size, 3), np.uint8)

    count, inside = len(example.pairs), shape.interior
    clips = np.empty((count if source.clips else 0, shape.clip_frames, *size, 3), np.uint8)
    for place, clip in zip(clips, source.clips.read(size) if source.clips else (), strict=True):
        place[:] = clip
    if source.clips:
        last = shape.clip_frames - 1
        moments = [0, last, *(round(last * (k + 1) / (inside + 1)) for k in range(inside))]
        frames = clips[:, moments].reshape(-1, *size, 3)
    else:
        interior = example.interior or ((),) * count
        shots = zip(example.pairs, interior, strict=True)
        frames = fitted([frame for pair, between in shots for frame in (pair.start, pair.end, *between[:inside])])
    rejected = [frame for p in example.preferences for frame in (p.rejected.start, p.rejected.end)]
    return records.Example(
        story=json.dumps(story_to_json(example.story)),
        truth="{}",
        split=split,
        source=example.source,
        licence=example.licence,
        frames=frames,
        clips=clips.reshape(-1, *size, 3),
        shots=count,
        preferences=json.dumps([{"shot": p.shot, "why": p.why} for p in example.preferences]),
        rejected=fitted(rejected),
        references=fitted(example.references),
        masks=_masks(example.masks, inside, size),
    )


def _masks(masks: Sequence[np.ndarray], interior: int, size: Size) -> UInt8[np.ndarray, "frames h w"] | None:
    """Those of start and end frames, and of each shot's interior frames, of which nobody knows."""
    if not masks:
        return None
    pairs = np.stack([fit_mask(mask, size) for mask in masks]).reshape(-1, 2, *size)
    between = np.full((len(pairs), interior, *size), UNKNOWN, np.uint8)
    return np.concatenate([pairs, between], axis=1).reshape(-1, *size)


def _split(name: str, validation: float) -> str:
    drawn = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) / 2**64
    return VALIDATION if drawn < validation else TRAIN


def _picture_size(path: Path) -> Size:
    """Height and width by the file's header; what else may be wrong with it is told when it is read."""
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            return image.height, image.width
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise InputError(f"{path}: not a picture that can be read, expected a whole PNG or JPEG file") from None
