"""Wan's own first/last-frame models as the filler of a film, out of Wan's own folder, diffusers' or ours."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stage_jax.errors import InputError
from stage_jax.generate.parts import VideoModels
from stage_jax.generate.video_folder import SMALL, Opened
from stage_jax.recipes.sizes import Size, area_size, check_frames, check_size, token_side
from stage_jax.recipes.tasks import check_pictures
from stage_jax.sampling.defaults import SamplingDefaults
from stage_jax.sampling.named import solver_named
from stage_jax.weights.table import shown

MOST_LANDING = 1000  # steps, as for this project's fillers


@dataclasses.dataclass(frozen=True, eq=False)
class WanFiller:
    """how: as model.json says, or else as the release of this form is sampled; its `frames` are the most of a clip. landing:
    steps, see `sampling.landing`. size: height and width of the clips. negative: the prompt that clips are led away from.
    hashes: of the weights, by part."""

    models: VideoModels
    how: SamplingDefaults
    landing: int
    size: Size
    negative: str
    hashes: Mapping[str, str]

    @property
    def sampling(self) -> dict[str, Any]:
        """All that says how clips of this size are sampled."""
        said = dataclasses.asdict(self.how)
        del said["small_shift"]
        return said | {"shift": self.how.shift_at(*self.size), "size": self.size, "landing": self.landing}

    @property
    def side(self) -> int:
        """Pixels along a side of a token."""
        return token_side(self.models.vae.config, self.models.dit.config)

    def most_seconds(self) -> float:
        """How long the longest clip is, from its first frame to its last."""
        return (self.how.frames - 1) / self.how.fps

    def fitted_to(self, picture: Size) -> WanFiller:
        """For given pictures: of the same area in their proportions, as `stage video` has it. InputError for narrow ones."""
        return dataclasses.replace(self, size=area_size(self.size[0] * self.size[1], picture, self.side))


def wan_filler(opened: Opened, where: Path, size: Size | None = None) -> WanFiller:
    """size: height and width of the pairs; without one that of model.json, or Wan's smaller one. InputError for a model that
    does not make clips between two pictures, or not of this size, and for a way of sampling that cannot be."""
    dit, vae, how = opened.models.dit.config, opened.models.vae.config, opened.sampling
    try:
        check_pictures(dit, first=True, last=True)
    except InputError as error:
        expected = "expected one of first and last frame, such as Wan2.1's FLF2V-14B or Wan2.2's I2V-A14B"
        raise InputError(f"{where}: no clips between two frames ({error}); {expected}") from None
    landing = (opened.stored["dit"].sampling or {}).get("landing", 0)
    filler = WanFiller(opened.models, how, landing, size or opened.size or SMALL, opened.negative, opened.hashes())
    try:
        check_size(filler.size, filler.side)
        check_frames(how.frames, vae)
        solver_named(how.solver, how.steps, filler.sampling["shift"])
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    if how.frames < 1 + vae.temporal_stride:
        raise InputError(f"{where}: number of frames: found {how.frames}, expected at least {1 + vae.temporal_stride}")
    if not (type(landing) is int and 0 <= landing <= MOST_LANDING):
        raise InputError(f"{where}: landing: found {shown(landing)}, expected a whole number from 0 to {MOST_LANDING}")
    return filler
