"""Which DiT a checkpoint holds, told by its entries and their shapes, never by the names of its files."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from stage_jax.errors import InputError
from stage_jax.models.dit import DiTConfig
from stage_jax.models.stacking import LAYERS
from stage_jax.models.zoo import DITS
from stage_jax.weights.checkpoint import Checkpoint
from stage_jax.weights.dit_table import DIT_TABLE
from stage_jax.weights.sizes import agree, count_layers, in_zoo, refuse_other, shapes_of, small, whole
from stage_jax.weights.strangers import EXPECTED
from stage_jax.weights.table import Naming, Shape, likely_naming, listed, our_paths, shown, torch_name

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
_HEADS = ("num_heads", "num_attention_heads")
# What Wan's code and diffusers' say of the only kind of norms that the DiT has.
_NORMS = {"qk_norm": (True, "rms_norm_across_heads"), "cross_attn_norm": (True,)}
TWO_EXPERTS = ("wan2.2-t2v", "wan2.2-i2v")  # how the names of sizes begin that come as two experts
_RUN = ("theta", "dtype", "scan_layers", "remat", "gate_init")  # what weights do not say
_HEAD_WIDTH = 128  # in all that Wan has released
_RELEASED = {name: config for name, config in DITS.items() if name.startswith("wan") and not name.endswith("-tiny")}
# Where the width of CLIP's features is read from, with its axis; each entry has it.
_IMAGE_WIDTHS = {_IMAGE: 0, "image_embedding.norm_in.bias": 0, "image_embedding.up.kernel": 1, _POSITIONS: 2}
# Our words for what the CLIP branch alone has; every one of its entries has one of them in its path.
_IMAGE_WORDS = ("image_embedding", "key_image", "value_image", "norm_key_image")
_CLIP = DITS["wan2.1-flf2v-14b"]  # what is expected where nothing tells


def naming_of(checkpoint: Checkpoint) -> Naming:
    """Whose names the entries bear. InputError if most of them are known to neither."""
    naming, known = likely_naming(checkpoint.entries, DIT_TABLE)
    if 2 * known < len(checkpoint.entries):
        names = listed(sorted(checkpoint.entries)[:3], ", ")
        raise InputError(f"{checkpoint.where}: found entries called {names}, expected {EXPECTED}")
    return naming


def family_of(
    checkpoint: Checkpoint, naming: Naming, *, heads: int | None = None, experts: int = 1
) -> tuple[str | None, DiTConfig]:
    """The name in the zoo, or None for other sizes, and the configuration.

    What shapes do not say comes from config.json: heads (else `heads`, else as Wan's models of that width have them),
    text_len (else 512), eps (else 1e-6). Wan2.1's T2V 14B and one expert of Wan2.2's have the same shapes, so `experts`
    decides. A part of the CLIP branch is taken for the whole of it, so that `match` names what is missing. InputError
    where sizes are missing or contradict config.json or `heads`, and for a released model without its last layers.
    """
    said, where = checkpoint.config, checkpoint.where
    shapes = shapes_of(checkpoint, DIT_TABLE, naming, _AXES, (_PATCH, _TEXT, _TIME, _FFN, _HEAD))
    dim, in_channels, *kernel = shapes[_PATCH]
    try:
        image_dim, image_positions = _image(checkpoint, naming, shapes)
        config = DiTConfig(
            dim=dim,
            ffn_dim=shapes[_FFN][0],
            heads=_heads(checkpoint, dim, heads),
            layers=count_layers(checkpoint.entries, f"{LAYERS}."),
            in_channels=in_channels,
            out_channels=shapes[_HEAD][0] // prod(kernel),
            text_dim=shapes[_TEXT][1],
            text_len=whole(said.get("text_len", DiTConfig.text_len), "text_len"),
            freq_dim=shapes[_TIME][1],
            image_dim=image_dim,
            image_positions=image_positions,
            eps=small(said.get("eps", DiTConfig.eps)),
            kernels=(tuple(kernel),),
        )
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None
    _agree(checkpoint, config)
    _refuse_other_depths(checkpoint, config)
    zoo = {name: known for name, known in DITS.items() if experts == 1 or name.startswith(TWO_EXPERTS)}
    return in_zoo(config, zoo, _RUN)


def model_type(config: DiTConfig) -> str:
    """What Wan's own config.json calls it."""
    if config.image_positions is not None:
        return "flf2v"
    if config.in_channels != config.out_channels:
        return "i2v"
    return "ti2v" if config.out_channels == DITS["wan2.2-ti2v-5b"].out_channels else "t2v"


def released_heads(dim: int) -> int | None:
    """Those of Wan's models of that width, if there are any."""
    return next((config.heads for config in DITS.values() if config.dim == dim == _HEAD_WIDTH * config.heads), None)


def _heads(checkpoint: Checkpoint, dim: int, asked: int | None) -> int:
    said = {name: checkpoint.config[name] for name in _HEADS if checkpoint.config.get(name) is not None}
    if wrong := [f"{name} {shown(value)}" for name, value in said.items() if asked is not None and value != asked]:
        raise InputError(f"{checkpoint.where}: config.json says {', '.join(wrong)}, --heads says {asked}")
    heads = next(iter(said.values()), released_heads(dim) if asked is None else asked)
    if heads is None:
        beside = ", or a config.json beside" if checkpoint.where.is_dir() else ""
        raise InputError(f"{checkpoint.where}: the weights do not say how many heads they have; --heads does{beside}")
    return whole(heads, "heads")


def _image(checkpoint: Checkpoint, naming: Naming, shapes: Mapping[str, Shape]) -> tuple[int | None, int | None]:
    """Width and positions of CLIP's features: as the entries have them; where some of the branch is there, or config.json
    says that it is, but not what tells, as config.json or else Wan's models have them."""
    said = checkpoint.config
    in_channels, out_channels = shapes[_PATCH][1], shapes[_HEAD][0] // prod(shapes[_PATCH][2:])
    two_images = said.get("model_type") == "flf2v" and in_channels != out_channels
    two_images = two_images or said.get("pos_embed_seq_len") is not None
    if not two_images and not any(_of_image(name, naming) for name in checkpoint.entries):
        return None, None
    there = {path: torch_name(path, DIT_TABLE, naming) for path in _IMAGE_WIDTHS}
    found = {path: checkpoint.entries[name].shape for path, name in there.items() if name in checkpoint.entries}
    widths = [found[path][axis] for path, axis in _IMAGE_WIDTHS.items() if len(found.get(path, ())) > axis]
    told = [] if said.get("image_dim") is None else [said["image_dim"]]
    width = whole([*widths, *told, _CLIP.image_dim][0], "image_dim")
    if _POSITIONS in shapes:
        return width, shapes[_POSITIONS][1]
    positions = said.get("pos_embed_seq_len")
    return width, whole(_CLIP.image_positions if positions is None else positions, "pos_embed_seq_len") if two_images else None


def _of_image(name: str, naming: Naming) -> bool:
    return any(word in _IMAGE_WORDS for path in our_paths(name, DIT_TABLE, naming) for word in path.split("."))


def _agree(checkpoint: Checkpoint, config: DiTConfig) -> None:
    """InputError if config.json speaks of other sizes than the weights have."""
    sizes = {name: getattr(config, field) for name, field in _FIELDS.items()}
    head = config.dim // config.heads
    kernel = list(config.kernels[0])
    agree(checkpoint, sizes | {"model_type": model_type(config), "attention_head_dim": head, "patch_size": kernel})
    refuse_other(checkpoint, _NORMS)


def _refuse_other_depths(checkpoint: Checkpoint, config: DiTConfig) -> None:
    """InputError for a released model's sizes in another depth, unless config.json means it (`_agree` has compared it)."""
    if checkpoint.config.get("num_layers") is not None:
        return
    size = ("dim", "ffn_dim", "heads")
    form = ("in_channels", "out_channels", "image_dim", "image_positions")
    alike = {name: known for name, known in _RELEASED.items() if all(getattr(known, f) == getattr(config, f) for f in size)}
    if alike and all(known.layers != config.layers for known in alike.values()):
        name = max(alike, key=lambda name: sum(getattr(alike[name], f) == getattr(config, f) for f in form))
        raise InputError(f"{checkpoint.where}: found {config.layers} layers, {name} has {alike[name].layers}")
