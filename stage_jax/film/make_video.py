"""The job of `stage video`: a prompt, and pictures, go in; a file comes out."""

from __future__ import annotations

import dataclasses
import functools
import os
import re
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path

import jax
import numpy as np
from jaxtyping import UInt8

from stage_jax import files
from stage_jax.errors import InputError
from stage_jax.film.make import TINY, Reports
from stage_jax.film.png import png_bytes, write_png
from stage_jax.film.video import write_mp4
from stage_jax.generate.video import Request, Sampling, VideoSampler
from stage_jax.generate.video_folder import SMALL, Opened, open_models
from stage_jax.recipes.sizes import Size, area_size, best_size, check_size, token_side
from stage_jax.recipes.tasks import takes_pictures
from stage_jax.sampling.defaults import SamplingDefaults
from stage_jax.sampling.named import solver_named
from stage_jax.story.pairs import read_picture
from stage_jax.weights.lora_folder import Asked

LARGE_5B = (704, 1280)  # height, width: the size of Wan2.2's 5B
LONGEST_NAME = 50  # characters of the prompt in a file's name, as in Wan's


@dataclasses.dataclass(frozen=True)
class Wishes:
    """What the user asks for; None leaves it to the model. like: the release (a name of the zoo) that the model has to be of
    the form of. size: height and width, or with a picture the area that they make. guidance: (low, high)."""

    prompt: str
    negative: str | None = None
    first: Path | None = None
    last: Path | None = None
    like: str | None = None
    size: Size | None = None
    frames: int | None = None
    steps: int | None = None
    shift: float | None = None
    guidance: tuple[float, float] | None = None
    solver: str | None = None
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Made:
    """size: height, width. defaults: how it was sampled."""

    path: Path
    size: Size
    sampling: SamplingDefaults
    shift: float


def make_video(
    wishes: Wishes,
    path: Path | None,
    progress: Reports,
    *,
    model: Path | None = None,
    loras: Sequence[Asked] = (),
    dtype: str = "float32",
    keep: bool = False,
) -> Made:
    """Makes a video at `path`: an .mp4, a .png of one frame, a folder of PNGs if it has no suffix; None makes a name for it.

    model: a model folder, Wan's own or diffusers' folder; the shipped tiny one by default. loras: beside its weights. dtype:
    of weights and activations, but for the VAE's. keep: every part stays on the device from its first use. The same wishes
    make the same file. InputError on anything wrong, before the work begins, and then nothing is written.
    """
    folder = model or Path(str(resources.files("stage_jax") / TINY))
    opened = open_models(folder, dtype, loras)
    models = opened.models
    if wishes.like not in (None, opened.like):
        raise InputError(f"{folder}: a model of the form of {opened.like}, the task is one of {wishes.like}")
    defaults = _wished(opened.sampling, wishes)
    pictures = {name: read_picture(file) for name in ("first", "last") if (file := getattr(wishes, name)) is not None}
    size = _size(opened, wishes.size, pictures.get("first"))
    shift = defaults.shift_at(*size) if wishes.shift is None else wishes.shift
    solver = solver_named(defaults.solver, defaults.steps, shift)
    path = path or Path(f"{opened.like.split('-')[1]}_{size[1]}x{size[0]}_{_slug(wishes.prompt)}_{wishes.seed}.mp4")
    write = _writer(path, defaults)
    sampler = VideoSampler(models.kept() if keep else models)
    negative = opened.negative if wishes.negative is None else wishes.negative
    request = Request([wishes.prompt], negative, **{name: picture[None] for name, picture in pictures.items()})
    sampler.check(request, size, defaults.frames)
    noise = sampler.noise(jax.random.key(wishes.seed), 1, size, defaults.frames)
    sampling = Sampling(solver, defaults.guidance, defaults.boundary or 0.0, chunk=1)
    latents = sampler.latents(request, noise, sampling, lambda done, total: progress.step("steps", done, total))
    progress.say("decoding")
    write(sampler.decode(latents)[0])
    return Made(path, size, defaults, shift)


def _wished(defaults: SamplingDefaults, wishes: Wishes) -> SamplingDefaults:
    wished = {name: getattr(wishes, name) for name in ("frames", "steps", "guidance", "solver")}
    return dataclasses.replace(defaults, **{name: value for name, value in wished.items() if value is not None})


def _size(opened: Opened, wished: Size | None, first: UInt8[np.ndarray, "h w 3"] | None) -> Size:
    """With a picture that the model takes, the area of what was wished for in the picture's proportions."""
    dit = opened.models.dit.config
    side = token_side(opened.models.vae.config, dit)
    size = wished or opened.size or (LARGE_5B if side > 16 else SMALL)
    if first is None:
        check_size(size, side)
        return size
    rule = area_size if takes_pictures(dit) else best_size
    return rule(size[0] * size[1], first.shape[:2], side)


def _slug(prompt: str) -> str:
    return re.sub(r"[^\w-]+", "_", prompt)[:LONGEST_NAME].strip("_") or "video"


def _writer(path: Path, sampling: SamplingDefaults) -> Callable[[UInt8[np.ndarray, "frames h w 3"]], object]:
    """What writes the video, once it is known that it can. InputError for a path that cannot hold it."""
    suffix = path.suffix.lower()
    if path.name.startswith(".") or not path.name:
        raise InputError(f"{str(path)!r}: no name for a video, expected NAME.mp4, NAME.png, or a folder for PNGs")
    if suffix not in (".mp4", ".png", ""):
        raise InputError(f"{path}: expected .mp4, .png for one frame, or a folder (no suffix) for PNGs")
    if suffix == ".png" and sampling.frames > 1:
        raise InputError(f"{path}: one picture, but {sampling.frames} frames; expected .mp4, a folder, or --frame_num 1")
    there = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
    if suffix and (path.is_dir() or not path.absolute().parent.is_dir()):
        raise InputError(f"{path}: {'a folder stands there' if path.is_dir() else 'its folder does not exist'}")
    if not suffix and path.is_dir() and any(path.glob("frame_*.png")):
        raise InputError(f"{path}: frames of another video stand there, expected a new or empty folder")
    if not suffix and not there.is_dir():
        raise InputError(f"{path}: {there} is not a folder")
    if not os.access(there if there.is_dir() else there.parent, os.W_OK):
        raise InputError(f"{path}: must not be written there")
    if suffix == ".mp4":
        return functools.partial(write_mp4, path, fps=float(sampling.fps))
    return functools.partial(_write_picture if suffix else _write_frames, path)


def _write_picture(path: Path, video: UInt8[np.ndarray, "1 h w 3"]) -> None:
    write_png(path, video[0])


def _write_frames(folder: Path, video: UInt8[np.ndarray, "frames h w 3"]) -> None:
    """frame_0000.png and so on; other files of the folder stay."""
    with files.staged_folder(folder) as staging:
        for number, frame in enumerate(video):
            (staging / f"frame_{number:04d}.png").write_bytes(png_bytes(frame))
