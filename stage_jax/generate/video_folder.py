"""The models of a video out of a folder: opened and held against each other at once, loaded when they are needed."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

import jax
import jax.numpy as jnp
from flax import nnx

from stage_jax.errors import InputError
from stage_jax.generate.parts import Part, VideoModels
from stage_jax.models.clip import CLIP, CLIPConfig
from stage_jax.models.dit import DiT
from stage_jax.models.lora import LoRA, adapted, joined
from stage_jax.models.piece_tokenizer import load_tokenizer
from stage_jax.models.stacking import flat_params, with_params
from stage_jax.models.umt5 import UMT5Encoder
from stage_jax.models.vae import VAE
from stage_jax.recipes.sizes import MOST_SIDE, Size
from stage_jax.recipes.tasks import negative_prompt, released_like
from stage_jax.sampling.defaults import DEFAULTS, SamplingDefaults
from stage_jax.weights import part as weights
from stage_jax.weights.config_types import misfit
from stage_jax.weights.lora_folder import Asked, read_asked
from stage_jax.weights.pipeline import Pipeline, open_pipeline
from stage_jax.weights.table import shown

MODELS: dict[str, type[nnx.Module]] = {"umt5": UMT5Encoder, "vae": VAE, "dit": DiT, "dit_low": DiT, "clip": CLIP}
OPTIONAL = ("dit_low", "clip")
SMALL = (480, 832)  # height, width: what is made unless somebody says otherwise
# Parameters whose paths hold one of these stay float32 whatever the others are, as Wan's own code and diffusers have it.
IN_FLOAT32 = ("norm", "modulation", "time_embedding", "time_projection")


@dataclasses.dataclass(frozen=True, eq=False)
class Opened:
    """like: the release (a name of the zoo) that the models have the form of. sampling: how they like to be sampled. size:
    height and width that they were made for, if they say so. stored: the files that they are read from, by part."""

    models: VideoModels
    like: str
    sampling: SamplingDefaults
    size: Size | None
    stored: Mapping[str, weights.Part]

    @property
    def negative(self) -> str:
        """The prompt that the model is led away from: Wan's own; none for the tiny model, whose words it is not in."""
        wans = negative_prompt(self.models.dit.config)
        return "" if self.models.tokenizer.unknown([wans]) else wans

    def hashes(self, parts: Collection[str] | None = None) -> dict[str, str]:
        """Of the weights, by part: of all, or of these. Reads every byte of what has no hash beside it."""
        return {name: part.digest() for name, part in self.stored.items() if parts is None or name in parts}


def open_models(folder: Path, dtype: str, loras: Sequence[Asked] = ()) -> Opened:
    """The models of a model folder, of Wan's own folder or of diffusers'.

    dtype: of the parameters (but for `IN_FLOAT32`) and activations of text encoder, CLIP and DiT; the VAE is float32, as Wan
    runs it. loras: beside the DiT's weights, which stay as they are. InputError for what is missing or broken, for parts that
    were not made for each other, and for a way of sampling that cannot be.
    """
    pipeline = open_pipeline(folder)
    names = [name for name in MODELS if name in pipeline.parts or name not in OPTIONAL]
    parts = {name: _part(pipeline.part(name), MODELS[name], "float32" if name == "vae" else dtype) for name in names}
    if loras:
        experts = [name for name in ("dit", "dit_low") if name in parts]
        found = read_asked(loras, experts, folder)
        for name in experts:  # two experts run in one program, so each has the other's adapters too, with weight 0
            each = [(lora, weight * (expert == name)) for of, weight in found for expert, lora in of.items()]
            parts[name] = _with_loras(parts[name], each)
    if parts["dit"].config.image_dim is None:
        parts.pop("clip", None)  # kept beside a model that does not read it
    models = VideoModels(load_tokenizer(pipeline.tokenizer), **parts)
    _check_partners(models, folder)
    like = released_like(models.dit.config, 1 if models.dit_low is None else 2)
    stored = {name: pipeline.parts[name] for name in parts}
    return Opened(models, like, _sampling(pipeline, DEFAULTS[like]), _size(pipeline), stored)


def _part(stored: weights.Part, model_type: type[nnx.Module], dtype: str) -> Part:
    config = dataclasses.replace(stored.config, dtype=dtype) if hasattr(stored.config, "dtype") else stored.config
    if isinstance(config, CLIPConfig):
        config = dataclasses.replace(config, text=None, projection=None)  # the image tokens are all that a video needs
    form = nnx.eval_shape(lambda: model_type(config, nnx.Rngs(0)))
    kinds = {
        path: jax.ShapeDtypeStruct(leaf.shape, jnp.dtype(_type(path, dtype)))
        for path, leaf in flat_params(form).items()
    }

    def load() -> nnx.State:
        return nnx.state(with_params(form, stored.params(kinds, partial=True)))

    return Part(config, nnx.graphdef(form), load)


def _with_loras(part: Part, loras: Sequence[tuple[LoRA, float]]) -> Part:
    """The part with adapters in its linears, of the types of its parameters."""
    form = nnx.eval_shape(lambda: MODELS["dit"](part.config, nnx.Rngs(0)))
    lora = {path: factor.astype(_type(path, part.config.dtype)) for path, factor in joined(loras, flat_params(form)).items()}
    grown = adapted(form, lora)

    def load() -> nnx.State:
        return nnx.state(with_params(grown, flat_params(nnx.merge(part.form, part.load())) | lora))

    return dataclasses.replace(part, form=nnx.graphdef(grown), load=load)


def _type(path: str, dtype: str) -> str:
    return "float32" if any(word in path for word in IN_FLOAT32) else dtype


def _sampling(pipeline: Pipeline, released: SamplingDefaults) -> SamplingDefaults:
    """What model.json says goes before what the release of this form does."""
    kinds, said = get_type_hints(SamplingDefaults), pipeline.part("dit").sampling or {}
    known = {name: _pair(value) if name == "guidance" else value for name, value in said.items() if name in kinds}
    where = f"{pipeline.where / 'model.json'}: parts.dit.sampling"
    for name, value in known.items():
        if expected := misfit(value, name, kinds[name]):
            raise InputError(f"{where}.{name}: found {shown(value)}, expected {expected}")
    defaults = dataclasses.replace(released, **{name: _as(value, kinds[name]) for name, value in known.items()})
    if "dit_low" in pipeline.parts and defaults.boundary is None:
        raise InputError(f"{where}.boundary: not found, expected where the expert for low noise begins")
    return defaults


def _size(pipeline: Pipeline) -> Size | None:
    size = (pipeline.part("dit").sampling or {}).get("size")
    if size is None:
        return None
    if not (isinstance(size, list) and len(size) == 2 and all(type(side) is int and 0 < side <= MOST_SIDE for side in size)):
        where = f"{pipeline.where / 'model.json'}: parts.dit.sampling.size"
        raise InputError(f"{where}: found {shown(size)}, expected height and width in pixels")
    return size[0], size[1]


def _pair(guidance: Any) -> Any:
    """One number stands for both experts."""
    return guidance if isinstance(guidance, list) else [guidance, guidance]


def _as(value: Any, kind: Any) -> Any:
    """JSON's lists as tuples, its whole numbers as the real ones that they stand for."""
    if isinstance(value, list):
        return tuple(map(float, value))
    return float(value) if type(value) is int and kind is not int else value


def _check_partners(models: VideoModels, folder: Path) -> None:
    dit, umt5, vae = models.dit.config, models.umt5.config, models.vae.config
    clip = models.clip.config.dim if models.clip else None
    rules: Mapping[str, tuple[Any, Any]] = {
        "channels of the VAE's latents": (vae.latent_channels, dit.out_channels),
        "width of the text encoder": (umt5.dim, dit.text_dim),
        "width of CLIP's image tokens (part clip)": (clip, dit.image_dim),
    }
    for what, (found, expected) in rules.items():
        if found != expected:
            raise InputError(f"{folder}: {what}: found {found or 'none'}, the DiT takes {expected}")
    if models.tokenizer.size > umt5.vocabulary:
        raise InputError(f"{folder}: a tokenizer of {models.tokenizer.size} ids, the text encoder has {umt5.vocabulary}")
    if models.tokenizer.length > dit.text_len:
        raise InputError(f"{folder}: a tokenizer of {models.tokenizer.length} ids a text, the DiT takes {dit.text_len}")
    if models.dit_low is not None and models.dit_low.config != dit:
        raise InputError(f"{folder}: the sizes of dit_low are not those of dit, expected two experts of one form")
