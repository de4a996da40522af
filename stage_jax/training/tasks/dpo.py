"""Training STEP2 by preferences: the second stage of STAGE (section on preference alignment; `losses.dpo`)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

import grain
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict

from data_pipeline.latents import open_latents
from data_pipeline.loader import batches
from data_pipeline.preferences import given_preferences, interior_preferences
from data_pipeline.stream import Stream
from stage_jax.errors import InputError
from stage_jax.losses.dpo import PairErrors, dpo_loss, dpo_metrics
from stage_jax.losses.flow_matching import noised, velocity_error, velocity_target
from stage_jax.models.dit import DiT
from stage_jax.models.stacking import flat_params, with_params
from stage_jax.models.work import Work
from stage_jax.recipes.step2 import Given
from stage_jax.recipes.step2_config import STEP2Config
from stage_jax.recipes.step2_folder import read_recipe
from stage_jax.training.config import NAME, NUMBER, POSITIVE, Rules, one_of
from stage_jax.training.state import Params, Sums
from stage_jax.training.tasks import onto_mesh, own_share
from stage_jax.training.tasks.flow import draw_noise
from stage_jax.training.tasks.step2 import REFERENCE, STEP2Task, part_of, prefixed


class DPOTask(STEP2Task):
    """A batch holds `data.batch` preferences. Policy and reference start as the STEP2 of `init`, with its recipe.

    data.preferences: what is rejected; "interior": two frames from inside the shot; "given": what the records hold (broken
    cuts, people's choices); "both": as often of each. beta: see `losses.dpo`. sft: weight of the flow-matching error on the
    chosen pair, against both errors rising (0: none). The reference is the SFT model: a copy of its DiT, which `frozen` has to
    name (and should name its text encoder, which both read; see the configs), or with `lora` the policy without its adapters.
    """

    needs: ClassVar[Rules] = STEP2Task.needs | {
        "init": NAME, "beta": POSITIVE, "sft": NUMBER,
        "data.preferences": one_of("interior", "given", "both"),
    }  # fmt: skip

    def __init__(self, config: ConfigDict):
        frozen = config.get("frozen")
        if config.get("lora") is None and not (frozen and re.search(frozen, REFERENCE)):
            raise InputError(f"config.frozen: found {frozen!r}, expected a pattern that is found in {REFERENCE!r}")
        if config.data.get("crowded"):
            raise InputError(f"config.data.crowded: found {config.data.crowded}, expected none: preferences are drawn evenly")
        super().__init__(config)
        self.plain = self.dit  # `dit` may be given adapters

    def recipe_of(self, config: ConfigDict) -> STEP2Config:
        """The recipe of the SFT model. InputError if the config names one of its own."""
        if config.get("recipe"):
            raise InputError("config.recipe: found with config.init, expected none: DPO goes on with the model's own")
        return read_recipe(Path(config.init), "step2")

    def init(self, key: PRNGKeyArray) -> Params:
        params = super().init(key)
        if self.config.get("lora") is not None:
            return params
        # Copies, because a step takes over the memory of the policy.
        return params | prefixed(REFERENCE, jax.tree.map(jnp.copy, self.dit_params(params)))

    def _stream(self, split: str, dropout: dict[str, float], seed: int, crowded: float = 0.0) -> Stream:
        source, data = self.source(split), self.config.data
        whole = {name: share for name, share in dropout.items() if name != "frame"}
        rest = (self.slots(source.cache), whole, seed, data.get("history"))
        folder, parts = Path(data.dir), []
        if data.preferences in ("interior", "both"):
            parts.append(interior_preferences(source, open_latents(folder, split, "interior", self.vae_folder), *rest))
        if data.preferences in ("given", "both"):
            parts.append(given_preferences(source, open_latents(folder, split, "rejected", self.vae_folder), *rest))
        mixed = parts[0] if len(parts) == 1 else grain.MapDataset.mix(parts)
        rows = batches(mixed, data.batch, own_share(self.config))
        return Stream(rows, onto_mesh(self.config), workers=data.get("workers", 0))

    def draw(
        self, batch: dict[str, Array], key: PRNGKeyArray, sigma: Float[Array, " b"] | None = None
    ) -> dict[str, Array]:
        """One level and one noise a preference: both pairs and both models share them."""
        return batch | self._memory_noise(batch, key) | draw_noise(batch["chosen"], key, self.noise_levels, sigma)

    def loss(self, params: Params, examples: dict[str, Array]) -> tuple[Float[Array, " b"], Sums]:
        given = self.given(params, examples)
        policy = self._errors(with_params(self.dit, self.dit_params(params)), examples, given)
        reference = jax.lax.stop_gradient(self._errors(self.reference(params), examples, given))
        metrics = dpo_metrics(policy, reference, self.config.beta)
        losses = dpo_loss(policy, reference, self.config.beta)
        metrics |= {"loss_dpo": losses}
        sums = {name: (values.sum(), jnp.float32(len(values))) for name, values in metrics.items()}
        return losses + self.config.sft * policy.chosen, sums

    def reference(self, params: Params) -> DiT:
        """The model that the policy is held to."""
        own = part_of(params, REFERENCE)
        if not own and self.dit is self.plain:
            raise ValueError("DPO: found neither a copy of the reference nor adapters that it could do without")
        names = flat_params(self.plain)
        return with_params(self.plain, own or {n: value for n, value in self.dit_params(params).items() if n in names})

    def _errors(self, dit: DiT, examples: dict[str, Array], given: Given) -> PairErrors:
        """On both pairs in one batch."""
        sigma, noise = examples["sigma"][:, 0], examples["noise"][:, 0]
        pairs = jnp.concatenate([examples["chosen"], examples["rejected"]])
        twice = lambda rows: jnp.concatenate([rows, rows])  # noqa: E731
        noise, sigma, given = jax.tree.map(twice, (noise, sigma, given))
        velocity = self.velocity(dit, noised(pairs, noise, sigma), sigma, given)
        return PairErrors(*jnp.split(velocity_error(velocity, velocity_target(pairs, noise)), 2))

    def work(self, batch: dict[str, Array]) -> Work:
        """Both pairs through the policy, forward and backward, and through the reference, forward."""
        trained = self.pair_work(batch["chosen"], 2)
        return Work(trained.tokens, trained.flops * 4 / 3)

    def export(self, params: Params, folder: Path) -> None:
        """The policy in the place of the SFT model."""
        super().export({name: value for name, value in params.items() if not name.startswith(REFERENCE)}, folder)
