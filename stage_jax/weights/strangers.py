"""What is no part of Wan's, told by its entries and refused by its name: LoRA files, other models, quantised weights.

Entries as in the public code of Wan2.1, Wan2.2, diffusers, ComfyUI, kohya's and DiffSynth's trainers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from stage_jax.errors import InputError
from stage_jax.weights.checkpoint import Checkpoint
from stage_jax.weights.header import DTYPES, Stored
from stage_jax.weights.table import printable

# The first that fits some entry, as the file calls it, names the file.
_KINDS: tuple[tuple[str, str], ...] = (
    ("a LoRA in kohya's naming", r"lora_(unet|te\d?|transformer)_.*"),
    ("a LoRA in diffusers' naming", r"transformer(_2)?\..*\.lora_(A|B|down|up)\..*"),
    ("a LoRA in ComfyUI's naming", r"(model\.)?diffusion_model\..*\.(lora_(A|B|down|up)\..*|diff|diff_b)"),
    ("a LoRA in DiffSynth's naming", r".*\.lora_[AB]\.default\.weight"),
    ("a LoRA", r".*(\.lora_(A|B|down|up)\.|\.hada_|\.lokr_|\.dora_scale|lora_magnitude_vector).*|.*\.diff(_b)?"),
    ("a scaled fp8 or otherwise quantised checkpoint",
     r".*(scaled_fp8|scale_weight|weight_scale|scale_input|input_scale|comfy_quant|\.absmax|quant_state|quant_map).*"),
    ("a VACE model", r"(.*\.)?vace_.*"),
    ("a Wan Animate model", r"(.*\.)?(pose_patch_embedding|motion_encoder|face_adapter|face_encoder)\..*"),
    ("a speech-to-video model", r"(.*\.)?(casual_audio_encoder|audio_.*|cond_encoder|frame_packer|trainable_cond_mask).*"),
    ("a camera or control model", r"(.*\.)?(control_adapter|ref_conv|cam_encoder|camera_.*)\..*"),
)  # fmt: skip
EXPECTED = "the weights of a Wan DiT, VAE, umT5 or CLIP"


def refuse_strangers(checkpoint: Checkpoint) -> None:
    """InputError, one line that says what the checkpoint looks like, if it is a known thing but no part of Wan's."""
    names = [entry.name for entry in checkpoint.entries.values()]
    if not names:
        raise InputError(f"{checkpoint.where}: holds no entries, expected {EXPECTED}")
    for kind, pattern in _KINDS:
        if name := first_like(pattern, names):
            raise InputError(f"{checkpoint.where}: looks like {kind} (its entry {printable(name)}), expected {EXPECTED}")


def refuse_types(entries: Iterable[Stored]) -> None:
    """InputError if one of these is not of a floating-point type of 16 or 32 bits."""
    if wrong := [entry for entry in entries if entry.dtype not in DTYPES]:
        first, types = wrong[0], ", ".join(DTYPES)
        found = f"{printable(first.name)} is {first.dtype}"
        raise InputError(f"{first.file}: {found}, expected {types} ({len(wrong)} such entries)")


def first_like(pattern: str, names: Iterable[str]) -> str | None:
    compiled = re.compile(pattern, re.DOTALL)
    return next((name for name in names if compiled.fullmatch(name)), None)
