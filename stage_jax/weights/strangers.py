"""What is no DiT of Wan's, told by its entries and refused by its name: LoRA files, other models, quantised weights.

Entries as in the public code of Wan2.1, Wan2.2, diffusers, ComfyUI, kohya's and DiffSynth's trainers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from stage_jax.errors import InputError
from stage_jax.weights.checkpoint import Checkpoint
from stage_jax.weights.header import DTYPES
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
    ("a VAE", r"(.*\.)?(encoder|decoder)\.(conv1|conv_in|middle|mid_block|downsamples|down_blocks)\..*"),
    ("a umT5 text encoder", r".*pos_embedding\.embedding\.weight|shared\.weight|.*\.SelfAttention\..*|token_embedding\.weight"),
    ("a CLIP model", r"(.*\.)?(visual|vision_model|textual)\..*|log_scale|cls_embedding|transformer\.\d+\.attn\.to_qkv\..*"),
)  # fmt: skip
EXPECTED = "the weights of a Wan DiT"


def refuse_strangers(checkpoint: Checkpoint) -> None:
    """InputError, one line that says what the checkpoint looks like, if it is a known thing but no DiT, or if some
    entry is not of a floating-point type of 16 or 32 bits."""
    names = [entry.name for entry in checkpoint.entries.values()]
    if not names:
        raise InputError(f"{checkpoint.where}: holds no entries, expected {EXPECTED}")
    if found := _kind(names):
        kind, name = found
        raise InputError(f"{checkpoint.where}: looks like {kind} (its entry {printable(name)}), expected {EXPECTED}")
    wrong = [entry for entry in checkpoint.entries.values() if entry.dtype not in DTYPES]
    if wrong:
        first, types = wrong[0], ", ".join(DTYPES)
        found = f"{printable(first.name)} is {first.dtype}"
        raise InputError(f"{first.file}: {found}, expected {types} ({len(wrong)} such entries)")


def _kind(names: Sequence[str]) -> tuple[str, str] | None:
    for kind, pattern in _KINDS:
        compiled = re.compile(pattern, re.DOTALL)
        if name := next((name for name in names if compiled.fullmatch(name)), None):
            return kind, name
    return None
