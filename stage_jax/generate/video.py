"""Wan itself: from a prompt, and pictures if the model takes them, to a video. A part is on the device while it works."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from stage_jax.errors import InputError
from stage_jax.generate.models import to_bytes, to_pixels
from stage_jax.generate.parts import VideoModels
from stage_jax.models.clip_pictures import clip_pictures
from stage_jax.models.umt5 import zero_padding
from stage_jax.recipes.sizes import Size, check_frames, check_size, token_side
from stage_jax.recipes.tasks import check_pictures, takes_pictures
from stage_jax.recipes.wan import Given, flf2v_condition, i2v_condition, wan_velocity
from stage_jax.sampling.chunks import Expert, chunk_program, run_chunks
from stage_jax.sampling.denoise import begin
from stage_jax.sampling.guidance import guided_velocity
from stage_jax.sampling.solver import Solver
from stage_jax.story.pictures import fit_picture


@dataclasses.dataclass(frozen=True)
class Request:
    """prompts: one per video. negative: what all are led away from. first, last: pictures of any size, one per video, for
    models that take them."""

    prompts: Sequence[str]
    negative: str = ""
    first: UInt8[np.ndarray, "b h w 3"] | None = None
    last: UInt8[np.ndarray, "b y x 3"] | None = None


@dataclasses.dataclass(frozen=True)
class Sampling:
    """guidance: (low, high), of the expert for low and for high noise. boundary: the noise level from which the one for high
    noise serves. chunk: steps between two tellings of progress."""

    solver: Solver
    guidance: tuple[float, float]
    boundary: float = 0.0
    chunk: int = 5


@dataclasses.dataclass(frozen=True, eq=False)
class VideoSampler:
    """All programs are compiled once for each shape, and serve all prompts, pictures, scales and numbers of steps."""

    models: VideoModels

    def check(self, request: Request, size: Size, frames: int) -> None:
        """InputError for a size (height, width), a number of frames or pictures that the models do not take."""
        dit, vae = self.models.dit.config, self.models.vae.config
        check_size(size, token_side(vae, dit))
        check_frames(frames, vae)
        first, last = request.first is not None, request.last is not None
        check_pictures(dit, first, last)
        fewest = 1 + vae.temporal_stride
        if frames < fewest and (last or (first and not takes_pictures(dit))):
            raise InputError(f"number of frames: found {frames}, expected at least {fewest} with the pictures that are given")

    def noise(self, key: PRNGKeyArray, batch: int, size: Size, frames: int) -> Float[Array, "b c t h w"]:
        """What the videos of this key, size (height, width) and length begin as."""
        vae = self.models.vae.config
        sides = (side // vae.spatial_stride for side in size)
        return jax.random.normal(key, (batch, vae.latent_channels, vae.latent_frames(frames), *sides))

    def latents(
        self,
        request: Request,
        noise: Float[Array, "b c t h w"],
        sampling: Sampling,
        progress: Callable[[int, int], None] | None = None,
    ) -> Float[Array, "b c t h w"]:
        """Latents of a request from this noise, whose shape says size and length of the videos. progress: (steps done, all)."""
        caption, negative = self._captions(request)
        given = self._given(request, noise.shape, caption)
        experts = [Expert(self.models.dit.load, sampling.guidance[1])]
        if self.models.dit_low is not None:
            high = dataclasses.replace(experts[0], boundary=sampling.boundary)
            experts = [high, Expert(self.models.dit_low.load, sampling.guidance[0])]
        start = begin(noise if given.first is None else noise[:, :, 1:])
        inputs = (given, dataclasses.replace(given, caption=negative))
        latent = run_chunks(
            self._program, experts, inputs, start, sampling.solver, chunk=sampling.chunk, progress=progress
        )
        return latent if given.first is None else jnp.concatenate([given.first, latent], axis=2)

    def decode(self, latents: Float[Array, "b c t y x"]) -> UInt8[np.ndarray, "b frames h w 3"]:
        return np.asarray(self._decode(latents))

    def _captions(self, request: Request) -> tuple[Float[Array, "b l d"], Float[Array, "b l d"]]:
        embedded = self._embed(*self.models.tokenizer.encode([*request.prompts, request.negative]))
        return embedded[:-1], jnp.broadcast_to(embedded[-1:], embedded[:-1].shape)

    def _given(self, request: Request, shape: tuple[int, ...], caption: Float[Array, "b l d"]) -> Given:
        """The prompts' embeddings, and what the model is to know of the pictures."""
        if request.first is None:
            return Given(caption)
        vae = self.models.vae.config
        size = shape[3] * vae.spatial_stride, shape[4] * vae.spatial_stride
        pictures = [picture for picture in (request.first, request.last) if picture is not None]
        fitted = [to_pixels(np.stack([fit_picture(one, size) for one in picture])) for picture in pictures]
        if not takes_pictures(self.models.dit.config):
            return Given(caption, first=self._first(fitted[0]))
        condition = self._condition(*fitted, frames=1 + (shape[2] - 1) * vae.temporal_stride)
        return Given(caption, condition, self._image_tokens(pictures))

    def _image_tokens(self, pictures: Sequence[UInt8[np.ndarray, "b _ _ 3"]]) -> Float[Array, "b m e"] | None:
        """CLIP's features of the pictures as they are, not as they are cut for the VAE (as Wan's own code has it)."""
        if self.models.dit.config.image_dim is None:
            return None
        features = [self._look(to_pixels(picture)) for picture in pictures]
        return jnp.concatenate(features, axis=1)

    @functools.cached_property
    def _embed(self):
        return self.models.umt5.compiled(lambda umt5, ids, mask: zero_padding(umt5(ids, mask), mask))

    @functools.cached_property
    def _first(self):
        return self.models.vae.compiled(lambda vae, first: vae.encode(first[:, None]))

    @functools.cached_property
    def _decode(self):
        return self.models.vae.compiled(lambda vae, latents: vae.decode(latents, finish=to_bytes))

    @functools.cached_property
    def _condition(self):
        def condition(vae, first, *last, frames):
            return flf2v_condition(vae, first, *last, frames) if last else i2v_condition(vae, first, frames)

        return self.models.vae.compiled(condition, "frames")

    @functools.cached_property
    def _look(self):
        def look(clip, pictures):
            return clip.vision(clip_pictures(pictures, clip.config.picture))

        return self.models.clip.compiled(look)

    @functools.cached_property
    def _program(self):
        def field(params, inputs, scale):
            dit = nnx.merge(self.models.dit.form, params)
            return guided_velocity(lambda x, t, given: wan_velocity(dit, x, t, given), *inputs, scale)

        return chunk_program(field)
