"""The parts of a video model: each a form, and parameters that are on the device only while they are needed."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import jax
from flax import nnx

from stage_jax.models.piece_tokenizer import Tokenizer

M = TypeVar("M", bound=nnx.Module)


@dataclasses.dataclass(frozen=True, eq=False)
class Part(Generic[M]):
    """form: the graph of the module. load: gives its parameters; only the caller holds them, unless `load` remembers."""

    config: Any
    form: Any
    load: Callable[[], nnx.State]

    @classmethod
    def of(cls, module: M) -> Part[M]:
        """A module whose parameters stay where they are."""
        form, params = nnx.split(module)
        return cls(module.config, form, lambda: params)

    def module(self) -> M:
        """With its parameters, on the device."""
        return nnx.merge(self.form, self.load())

    def kept(self) -> Part[M]:
        """The same, loaded once, from then on kept on the device."""
        return dataclasses.replace(self, load=functools.cache(self.load))

    def compiled(self, function: Callable[..., Any], *static: str) -> Callable[..., Any]:
        """`function(module, *arguments)` as a compiled function of the arguments; loads the parameters for every call.
        static: names of arguments, given by name, for whose every value it is compiled."""

        def run(params: nnx.State, *arguments: Any, **settings: Any) -> Any:
            return function(nnx.merge(self.form, params), *arguments, **settings)

        program = jax.jit(run, static_argnames=static)
        return lambda *arguments, **settings: jax.block_until_ready(program(self.load(), *arguments, **settings))


@dataclasses.dataclass(frozen=True, eq=False)
class VideoModels:
    """What a video is made with. dit_low: the expert for low noise, of the same form as `dit`, for models of two experts.
    clip: the vision tower of Wan2.1's image models: preprocessed pictures in, rows of features out."""

    tokenizer: Tokenizer
    umt5: Part
    vae: Part
    dit: Part
    dit_low: Part | None = None
    clip: Part | None = None

    def kept(self) -> VideoModels:
        """The same models; whatever is loaded stays on the device."""
        parts = {name: getattr(self, name) for name in ("umt5", "vae", "dit", "dit_low", "clip")}
        return dataclasses.replace(self, **{name: part.kept() for name, part in parts.items() if part is not None})
