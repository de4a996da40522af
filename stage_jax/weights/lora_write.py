"""LoRA files for other programs: diffusers and PEFT, ComfyUI, kohya's trainers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np

from stage_jax import files
from stage_jax.errors import InputError
from stage_jax.models.lora import A, B, LoRA
from stage_jax.weights.lora_names import ALPHA, Dialect, written
from stage_jax.weights.lora_peft import METADATA, metadata_of
from stage_jax.weights.places import SUFFIX
from stage_jax.weights.shards import write_shards

FOR_TORCH = {"format": "pt"}


def write_lora_files(path: Path, loras: Mapping[str, LoRA], dialect: Dialect) -> list[Path]:
    """Writes a safetensors file, in place of what was there, and returns its path; arrays keep their types.

    loras: by expert, `dit` and `dit_low`. "diffusers" holds both and says alpha in its metadata. "comfy" and "kohya" hold one,
    so that two make two files, NAME-high-noise and NAME-low-noise; they say alpha in an entry beside each pair, of which
    scale = alpha / rank is all that they know: rsLoRA becomes that.
    """
    if path.suffix != SUFFIX:
        raise InputError(f"{path}: expected a name that ends with {SUFFIX}")
    if dialect == "diffusers" or len(loras) == 1:
        plan = {path: loras}
    else:
        ends = {"dit": "high", "dit_low": "low"}
        plan = {path.with_stem(f"{path.stem}-{ends[expert]}-noise"): {expert: lora} for expert, lora in loras.items()}
    for place, held in plan.items():
        _write(place, held, dialect)
    return [*plan]


def _write(path: Path, loras: Mapping[str, LoRA], dialect: Dialect) -> None:
    arrays: dict[str, np.ndarray] = {}
    for expert, lora in loras.items():
        for linear, alpha in lora.alphas.items():
            for role in (A, B):
                arrays[written(linear, expert, role, dialect)] = np.asarray(lora.factors[linear + role]).T
            if dialect != "diffusers":
                exact = alpha if alpha is not None and not lora.rslora else lora.scale(linear) * lora.rank(linear)
                arrays[written(linear, expert, ALPHA, dialect)] = np.float32(exact).reshape(())
    specs = {name: jax.ShapeDtypeStruct(array.shape, array.dtype) for name, array in arrays.items()}
    metadata = FOR_TORCH | ({METADATA: metadata_of(loras)} if dialect == "diffusers" else {})
    with files.atomic_path(path) as temporary:
        write_shards(temporary.parent, temporary.name.removesuffix(SUFFIX), specs, arrays.__getitem__, metadata=metadata)
