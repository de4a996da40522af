"""Which DiT a checkpoint holds, told by its entries and their shapes, never by the names of its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import Any

from stage_jax.errors import InputError
from stage_jax.models.dit import DiTConfig
from stage_jax.models.stacking import LAYERS
from stage_jax.models.zoo import DITS
from stage_jax.weights.checkpoint import Checkpoint
from stage_jax.weights.dit_table import DIT_TABLE
from stage_jax.weights.strangers import EXPECTED
from stage_jax.weights.table import Naming, Shape, likely_naming, torch_name

MOST_DIGITS = 3  # of a layer's number, our choice; what claims more layers is not believed
# The entries that sizes are read from: our path, axes of the torch array.
_PATCH, _TEXT, _TIME = "patch_embedding.base.kernel", "text_embedding.0.kernel", "time_embedding.0.kernel"
_FFN, _HEAD = f"{LAYERS}.0.ffn.up.kernel", "head.projection.kernel"
_IMAGE, _POSITIONS = "image_embedding.norm_in.scale", "image_embedding.positions"
_AXES = {_PATCH: 5, _TEXT: 2, _TIME: 2, _FFN: 2, _HEAD: 2, _IMAGE: 1, _POSITIONS: 3}
# Fields of config.json, Wan's own and diffusers', and what they are called here.
_FIELDS = {
    "dim": "dim", "ffn_dim": "ffn_dim", "freq_dim": "freq_dim", "text_dim": "text_dim", "num_layers": "layers",
    "in_dim": "in_channels", "out_dim": "out_channels", "in_channels": "in_channels", "out_channels": "out_channels",
    "image_dim": "image_dim", "pos_embed_seq_len": "image_positions",
}  # fmt: skip
TWO_EXPERTS = ("wan2.2-t2v", "wan2.2-i2v")  # how the names of sizes begin that come as two experts
_HEAD_WIDTH = 128  # in all that Wan has released


def naming_of(checkpoint: Checkpoint) -> Naming:
    """Whose names the entries bear. InputError if most of them are known to neither."""
    naming, known = likely_naming(checkpoint.entries, DIT_TABLE)
    if 2 * known < len(checkpoint.entries):
        names = ", ".join(sorted(checkpoint.entries)[:3])
        raise InputError(f"{checkpoint.where}: found entries called {names}, expected {EXPECTED}")
    return naming


def family_of(
    checkpoint: Checkpoint, naming: Naming, *, heads: int | None = None, experts: int = 1
) -> tuple[str | None, DiTConfig]:
    """The name in the zoo, or None for other sizes, and the configuration.

    What shapes do not say comes from config.json: heads (else `heads`, else as Wan's models of that width have them),
    text_len (else 512), eps (else 1e-6). Wan2.1's T2V 14B and one expert of Wan2.2's have the same shapes, so `experts`
    decides. InputError where sizes are missing or contradict config.json.
    """
    shapes, said, where = _shapes(checkpoint, naming), checkpoint.config, checkpoint.where
    dim, in_channels, *kernel = shapes[_PATCH]
    released = {config.dim: config.heads for config in DITS.values() if config.dim == _HEAD_WIDTH * config.heads}
    heads = said.get("num_heads", said.get("num_attention_heads")) or heads or released.get(dim)
    if heads is None:
        raise InputError(f"{where}: the weights do not say how many heads they have; --heads does, or a config.json beside")
    try:
        config = DiTConfig(
            dim=dim,
            ffn_dim=shapes[_FFN][0],
            heads=_whole(heads, "heads"),
            layers=_layers(checkpoint.entries),
            in_channels=in_channels,
            out_channels=shapes[_HEAD][0] // prod(kernel),
            text_dim=shapes[_TEXT][1],
            text_len=_whole(said.get("text_len", DiTConfig.text_len), "text_len"),
            freq_dim=shapes[_TIME][1],
            image_dim=shapes[_IMAGE][0] if _IMAGE in shapes else None,
            image_positions=shapes[_POSITIONS][1] if _POSITIONS in shapes else None,
            eps=_small(said.get("eps", DiTConfig.eps)),
            kernels=(tuple(kernel),),
        )
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None
    _agree(checkpoint, config)
    return _named(config, experts)


def model_type(config: DiTConfig) -> str:
    """What Wan's own config.json calls it."""
    if config.image_positions is not None:
        return "flf2v"
    if config.in_channels != config.out_channels:
        return "i2v"
    return "ti2v" if config.out_channels == DITS["wan2.2-ti2v-5b"].out_channels else "t2v"


def _shapes(checkpoint: Checkpoint, naming: Naming) -> dict[str, Shape]:
    """The shapes that sizes are read from, by our paths."""
    names = {path: torch_name(path, DIT_TABLE, naming) for path in _AXES}
    found = {path: checkpoint.entries[name].shape for path, name in names.items() if name in checkpoint.entries}
    wrong = [f"{names[path]} is missing" for path in (_PATCH, _TEXT, _TIME, _FFN, _HEAD) if path not in found]
    for path, shape in found.items():
        if len(shape) != _AXES[path] or 0 in shape:
            wrong.append(f"{names[path]} is {list(shape)}, expected {_AXES[path]} axes")
    if wrong:
        raise InputError(f"{checkpoint.where}: {len(wrong)} entries do not fit: {'; '.join(wrong)}")
    return found


def _layers(names: Mapping[str, Any]) -> int:
    numbers = {name.split(".")[1] for name in names if name.startswith(f"{LAYERS}.")}
    return 1 + max(int(number) for number in numbers if number.isdecimal() and len(number) <= MOST_DIGITS)


def _whole(value: Any, name: str) -> int:
    if type(value) is not int or not 0 < value <= 1 << 20:
        raise ValueError(f"{name}: found {value!r}, expected a whole number from 1")
    return value


def _small(value: Any) -> float:
    if not isinstance(value, float) or not 0 < value < 1:
        raise ValueError(f"eps: found {value!r}, expected a number between 0 and 1")
    return value


def _agree(checkpoint: Checkpoint, config: DiTConfig) -> None:
    """InputError if config.json speaks of other sizes than the weights have."""
    said = {name: checkpoint.config[name] for name in _FIELDS if checkpoint.config.get(name) is not None}
    if wrong := [f"{name} {value!r}" for name, value in said.items() if value != getattr(config, _FIELDS[name])]:
        sizes = ", ".join(f"{name} {getattr(config, _FIELDS[name])}" for name in said)
        raise InputError(f"{checkpoint.where}: config.json says {', '.join(wrong)}, the weights say {sizes}")


def _named(config: DiTConfig, experts: int) -> tuple[str | None, DiTConfig]:
    """The zoo's own configuration where all that the weights say is the same: it also says how it is run."""
    run = ("theta", "dtype", "scan_layers", "remat", "gate_init")
    for name, known in DITS.items():
        fits = experts == 1 or name.startswith(TWO_EXPERTS)
        if fits and known == replace(config, **{field: getattr(known, field) for field in run}):
            return name, known
    return None, config
