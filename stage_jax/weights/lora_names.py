"""How LoRA files call things. A name is a prefix that tells the expert, the linear in Wan's names or diffusers', and the
role: A (down), B (up) or alpha. As in the public code of diffusers and PEFT, ComfyUI, musubi (kohya) and DiffSynth.

    diffusers    transformer.blocks.3.attn1.to_q.lora_A.weight, transformer_2... for low noise
    comfy        diffusion_model.blocks.3.self_attn.q.lora_down.weight, ...lora_up.weight, ...alpha
    kohya        lora_unet_blocks_3_self_attn_q.lora_down.weight, ...
    PEFT         base_model.model.blocks.3.attn1.to_q.lora_A.weight
    DiffSynth    blocks.3.self_attn.q.lora_A.default.weight
"""

from __future__ import annotations

import functools
import re
from typing import Literal, NamedTuple

from stage_jax.models.lora import A, B
from stage_jax.weights.dit_table import DIT_TABLE
from stage_jax.weights.table import LINEAR, Naming, torch_name

Dialect = Literal["diffusers", "comfy", "kohya"]
ALPHA = ".lora.alpha"
PEFT = "base_model.model."
KOHYA = "lora_unet_"
PREFIXES = {  # -> the expert; a name without a prefix is of the first
    "transformer_2.": "dit_low", "transformer.": "dit", "model.diffusion_model.": "dit", "diffusion_model.": "dit",
    "pipe.dit.": "dit", PEFT: "dit", KOHYA: "dit",
}  # fmt: skip
_ROLES = {
    ".lora_A.weight": A, ".lora_A.default.weight": A, ".lora_down.weight": A,
    ".lora_B.weight": B, ".lora_B.default.weight": B, ".lora_up.weight": B,
    ".alpha": ALPHA,
}  # fmt: skip
_LAYER = re.compile(r"(blocks[._])(\d+)([._].+)")


class Named(NamedTuple):
    """expert: dit or dit_low. path: ours, of the linear. role: A, B or ALPHA."""

    expert: str
    path: str
    role: str


def is_lora(name: str) -> bool:
    return re.search(r"\.lora_(A|B|down|up)\.", name) is not None


def parse(name: str) -> Named | None:
    """What an entry of a LoRA file is; None for what is no LoRA of a linear of Wan's DiT."""
    suffix = next((suffix for suffix in _ROLES if name.endswith(suffix)), None)
    if suffix is None:
        return None
    prefix = next((prefix for prefix in PREFIXES if name.startswith(prefix)), "")
    path = our_linear(name.removeprefix(prefix).removesuffix(suffix))
    return None if path is None else Named(PREFIXES.get(prefix, "dit"), path, _ROLES[suffix])


def our_linear(module: str) -> str | None:
    """Our path of a linear that is called so in Wan's own names, diffusers' or kohya's."""
    number = ""
    if layer := _LAYER.fullmatch(module):
        number, module = layer[2], f"{layer[1]}{{i}}{layer[3]}"
    ours = _linears().get(module)
    return None if ours is None else ours.replace("{i}", number)


def their_linear(path: str, naming: Naming) -> str:
    """The name of one of our linears."""
    name = torch_name(f"{path}.kernel", DIT_TABLE, naming)
    if name is None:
        raise KeyError(f"no torch name for {path}")
    return name.removesuffix(".weight")


def written(path: str, expert: str, role: str, dialect: Dialect) -> str:
    """The name of an entry. In the dialects of Wan's own names a file holds one expert."""
    if dialect == "diffusers":
        prefix = "transformer_2." if expert == "dit_low" else "transformer."
        return prefix + their_linear(path, "diffusers") + {A: ".lora_A.weight", B: ".lora_B.weight"}[role]
    module = their_linear(path, "original")
    module = KOHYA + module.replace(".", "_") if dialect == "kohya" else f"diffusion_model.{module}"
    return module + {A: ".lora_down.weight", B: ".lora_up.weight", ALPHA: ".alpha"}[role]


@functools.cache
def _linears() -> dict[str, str]:
    """Pattern of a linear in every naming -> ours."""
    found = {}
    for entry in DIT_TABLE:
        if entry.permutation == LINEAR:
            ours = entry.ours.removesuffix(".kernel")
            theirs, diffusers = (entry.name(naming).removesuffix(".weight") for naming in ("original", "diffusers"))
            found |= {diffusers: ours, theirs: ours, theirs.replace(".", "_"): ours}
    return found
