"""What PEFT says of a LoRA beside its entries: in an adapter_config.json, or, as diffusers keeps it, in the metadata of the
safetensors file, each name behind the expert's prefix."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stage_jax.errors import InputError
from stage_jax.models.lora import LoRA
from stage_jax.weights.lora_names import PREFIXES, their_linear
from stage_jax.weights.places import file_inside, parse_json
from stage_jax.weights.table import shown

METADATA = "lora_adapter_metadata"
ADAPTER_CONFIG = "adapter_config.json"
_EXPERTS = {"transformer.": "dit", "transformer_2.": "dit_low"}
_UNREAD = ("use_dora", "lora_bias")  # kinds of LoRA that are not read


@dataclass(frozen=True)
class Said:
    """alpha: of every linear whose name, or its end, is not in `alphas`; None: the scale is 1."""

    alpha: float | None = None
    rslora: bool = False
    alphas: Mapping[str, float] = field(default_factory=dict)

    def alpha_of(self, path: str) -> float | None:
        """Of one of our linears, whose names there are Wan's or diffusers'."""
        for naming in ("diffusers", "original"):
            name = their_linear(path, naming)
            for end, alpha in self.alphas.items():
                if f".{name}".endswith(f".{end}"):
                    return alpha
        return self.alpha


def read_adapter_config(path: Path) -> Said:
    """InputError where it is missing: entries in PEFT's own names do not say their scale."""
    if not path.is_file():
        raise InputError(f"{path}: not found, expected it beside weights in PEFT's names: it says their alpha")
    file_inside(path, path.parent)
    return _said(str(path), parse_json(path))


def read_metadata(where: str, text: str) -> dict[str, Said]:
    """By expert."""
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not JSON ({error})") from None
    if not isinstance(metadata, dict):
        raise InputError(f"{where}: found {shown(metadata)}, expected a JSON object")
    found = {}
    for prefix, expert in _EXPERTS.items():
        own = {key.removeprefix(prefix): value for key, value in metadata.items() if key.startswith(prefix)}
        found |= {expert: _said(where, own)} if own else {}
    return found


def metadata_of(loras: Mapping[str, LoRA]) -> str:
    """What diffusers' `load_lora_weights` makes its configuration of. loras: by expert."""
    said: dict[str, Any] = {}
    prefixes = {expert: prefix for prefix, expert in _EXPERTS.items()}
    for expert, lora in loras.items():
        modules = {path: their_linear(path, "diffusers") for path in lora.alphas}
        ranks = {module: lora.rank(path) for path, module in modules.items()}
        # PEFT knows no scale of 1 but by an alpha that gives it.
        alphas = {modules[path]: _alpha_of_one(lora, path) if alpha is None else alpha for path, alpha in lora.alphas.items()}
        rank, alpha = (Counter(values.values()).most_common(1)[0][0] for values in (ranks, alphas))
        config = {
            "r": rank,
            "lora_alpha": alpha,
            "use_rslora": lora.rslora,
            "target_modules": sorted(modules.values()),
            "rank_pattern": {module: value for module, value in ranks.items() if value != rank},
            "alpha_pattern": {module: value for module, value in alphas.items() if value != alpha},
        }
        said |= {prefixes[expert] + key: value for key, value in config.items()}
    return json.dumps(said, sort_keys=True)


def _alpha_of_one(lora: LoRA, path: str) -> float:
    """The alpha whose scale is 1."""
    return math.sqrt(lora.rank(path)) if lora.rslora else float(lora.rank(path))


def _said(where: str, config: Mapping[str, Any]) -> Said:
    for name in _UNREAD:
        if config.get(name):
            raise InputError(f"{where}: {name}: found {shown(config[name])}, expected none: such LoRAs are not read")
    rslora = config.get("use_rslora", False)
    if not isinstance(rslora, bool):
        raise InputError(f"{where}: use_rslora: found {shown(rslora)}, expected true or false")
    pattern = config.get("alpha_pattern") or {}
    if not isinstance(pattern, dict):
        raise InputError(f"{where}: alpha_pattern: found {shown(pattern)}, expected alphas by names of modules")
    alphas = {}
    for key, value in pattern.items():
        name = key.removeprefix("^").replace("\\.", ".")  # PEFT takes a regular expression; names are enough, and end
        if not re.fullmatch(r"[\w.]+", name):
            raise InputError(f"{where}: alpha_pattern: found {shown(key)}, expected names of modules")
        alphas[_without_prefix(name)] = _number(where, "alpha_pattern", value)
    alpha = config.get("lora_alpha")
    return Said(None if alpha is None else _number(where, "lora_alpha", alpha), rslora, alphas)


def _without_prefix(name: str) -> str:
    prefix = next((prefix for prefix in PREFIXES if name.startswith(prefix)), "")
    return name.removeprefix(prefix)


def _number(where: str, name: str, value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise InputError(f"{where}: {name}: found {shown(value)}, expected a finite number")
    return float(value)
