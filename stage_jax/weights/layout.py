"""The parts of a whole pipeline on disk: in Wan's own folder, in diffusers', or alone.

    original     diffusion_pytorch_model*.safetensors, or high_noise_model/ and low_noise_model/; Wan2.1_VAE.pth,
                 models_t5_*.pth, models_clip_*.pth (told by their entries, whatever they are called); google/umt5-xxl/
    diffusers    transformer/, transformer_2/, vae/, text_encoder/, image_encoder/, tokenizer/, model_index.json
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stage_jax import files
from stage_jax.errors import InputError
from stage_jax.weights.checkpoint import Checkpoint, open_checkpoint, open_place
from stage_jax.weights.kinds import KINDS, check_part, part_of
from stage_jax.weights.places import experts, file_inside, places_in, read_json
from stage_jax.weights.table import listed, shown

MODEL_INDEX = "model_index.json"
SCHEDULER = "scheduler/scheduler_config.json"
# Part -> its folder in a diffusers pipeline.
DIFFUSERS = {"dit": "transformer", "dit_low": "transformer_2", "vae": "vae", "umt5": "text_encoder", "clip": "image_encoder"}
TOKENIZERS = {"original": "google/umt5-xxl", "diffusers": "tokenizer"}  # where umT5's is
SPIECE = "spiece.model"  # what ComfyUI keeps among umT5's weights
# The files of a tokenizer that are read or copied, and those of which one has to be there.
TOKENIZER_FILES = ("tokenizer.json", SPIECE, "tokenizer_config.json", "special_tokens_map.json")
_TOKENS = TOKENIZER_FILES[:2]


@dataclass(frozen=True, eq=False)
class Layout:
    """parts: checkpoints by the names that a model folder has for them. tokenizer: the folder of umT5's, if there is one.
    sampling: how the DiT likes to be sampled, as far as the files say so (`boundary`, `shift`)."""

    parts: Mapping[str, Checkpoint]
    tokenizer: Path | None
    sampling: Mapping[str, float] = field(default_factory=dict)


def find_parts(source: Path) -> Layout:
    """Every part of a pipeline, or the one that a file or folder is. Reads headers only. InputError for parts that are
    missing where model_index.json names them, that stand in another's place or are there twice, and for bad files."""
    if source.is_dir() and any(os.path.lexists(source / name) for name in (MODEL_INDEX, *DIFFUSERS.values())):
        return _diffusers(source)
    places = experts(source)
    parts = {part: open_checkpoint(place) for part, place in places.items() if place != source}
    for part, checkpoint in parts.items():
        check_part(checkpoint, part)
    singles = [open_checkpoint(source)] if not source.is_dir() else [open_place(place) for place in places_in(source)]
    if not parts and not singles:
        singles = [open_checkpoint(source)]  # which says what is missing
    for checkpoint in singles:
        part = part_of(checkpoint)
        if part in parts:
            names = f"{parts[part].files[0].name}, {checkpoint.files[0].name}"
            low = "; of two experts, `stage convert HIGH DST --low LOW` takes both" if part == "dit" else ""
            raise InputError(f"{source}: found 2 models ({names}) that are {KINDS[part].words}, expected one of them{low}")
        parts[part] = checkpoint
    return Layout(dict(sorted(parts.items(), key=lambda item: [*KINDS].index(item[0]))), _tokenizer(source, "original"))


def copy_tokenizer(source: Path, folder: Path) -> None:
    """Copies the files of a tokenizer that is one, and nothing else, into a new folder."""
    folder.mkdir(parents=True)
    for name in TOKENIZER_FILES:
        if (source / name).exists():
            files.write_bytes(folder / name, (source / name).read_bytes())


def _diffusers(source: Path) -> Layout:
    index = read_json(source / MODEL_INDEX, source) if os.path.lexists(source / MODEL_INDEX) else {}
    named = [name for name, value in index.items() if isinstance(value, list) and any(value)]
    expected = [*DIFFUSERS.values(), TOKENIZERS["diffusers"]]
    if missing := [name for name in expected if name in named and not os.path.lexists(source / name)]:
        raise InputError(f"{source / missing[0]}: not found, though {MODEL_INDEX} names {listed(missing, ', ')}")
    there = {part: source / name for part, name in DIFFUSERS.items() if os.path.lexists(source / name)}
    if any(part in there for part in ("dit", "dit_low")):
        experts(source)  # has to have both, or no second one
    parts = {part: open_checkpoint(place) for part, place in there.items()}
    for part, checkpoint in parts.items():
        check_part(checkpoint, part)
    if not parts:
        raise InputError(f"{source}: found none of {', '.join(DIFFUSERS.values())}, expected a pipeline")
    return Layout(parts, _tokenizer(source, "diffusers"), _sampling(source, index))


def _sampling(source: Path, index: Mapping[str, Any]) -> dict[str, float]:
    """What diffusers samples the pipeline with. Many published schedulers have its own shift of 3: so it samples them."""
    scheduler = read_json(source / SCHEDULER, source) if os.path.lexists(source / SCHEDULER) else {}
    found = {}
    for name, said, key, file, most in (
        ("boundary", index, "boundary_ratio", MODEL_INDEX, 1),
        ("shift", scheduler, "flow_shift", SCHEDULER, sys.float_info.max),
    ):
        value = said.get(key)
        if value is None:
            continue
        if type(value) not in (int, float) or not 0 < value <= most:
            expected = "a number from 0 to 1" if name == "boundary" else "a positive number"
            raise InputError(f"{source / file}: {key}: found {shown(value)}, expected {expected}")
        found[name] = float(value)
    return found


def _tokenizer(source: Path, form: str) -> Path | None:
    """InputError for a folder without a vocabulary, or with files that lie outside the source."""
    folder = source / TOKENIZERS[form]
    if not folder.is_dir():
        return None
    found = [folder / name for name in TOKENIZER_FILES if os.path.lexists(folder / name)]
    if not any(path.name in _TOKENS for path in found):
        raise InputError(f"{folder}: no {' or '.join(_TOKENS)} in it, expected umT5's tokenizer")
    for path in found:
        file_inside(path, source)
    return folder
