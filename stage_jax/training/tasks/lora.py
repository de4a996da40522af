"""Training adapters alone, around any task with a DiT: the DiT's own parameters are frozen, and no optimiser holds them."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict

from data_pipeline.stream import Stream
from stage_jax.errors import InputError
from stage_jax.generate.video_folder import IN_FLOAT32
from stage_jax.models.lora import USUAL, A, B, LoRAConfig, adapted, as_lora, init_lora, merged, scaled
from stage_jax.models.stacking import flat_params, with_params
from stage_jax.models.work import Work
from stage_jax.training.config import COUNT, NUMBER, PATTERN, SWITCH, Rules, one_of
from stage_jax.training.state import Params, Sums
from stage_jax.weights.lora_folder import PARTS, write_lora_part

NEEDS: Rules = {"lora.rank": COUNT, "lora.alpha": NUMBER}
TAKES: Rules = {"lora.pattern": PATTERN, "lora.rslora": SWITCH, "lora.base": one_of("float32", "bfloat16")}
FROZEN = rf"^(?!.*({re.escape(A)}|{re.escape(B)})$)"  # all but adapters


class LoRATask:
    """`config.lora`: rank, alpha, pattern (of paths of linears, `lora.USUAL` by default), rslora; base: the type in which the
    frozen parameters are read, but for `IN_FLOAT32`. The result is a model folder with a LoRA alone, for `--lora` and
    `stage export`; of STEP2 a whole one, the LoRA merged.

    task: what is learned. Its `dit` is the form of its DiT, as whose `part` (of a model folder) `config.init` is read.
    """

    def __init__(self, task: Any, config: ConfigDict):
        if config.get("frozen") is not None:
            raise InputError("config.frozen: found beside config.lora, which freezes all that it does not add")
        if not hasattr(task, "part"):
            raise InputError(f"config.lora: found with config.task {config.task}, expected a task of Wan's")
        if config.get("init") is None:
            raise InputError("config.init: not found, expected the trained model that config.lora is for")
        own = config.lora
        self.lora = LoRAConfig(own.rank, float(own.alpha), own.get("pattern") or USUAL, bool(own.get("rslora")))
        self.needs, self.takes, self.levels, self.part = task.needs, task.takes, task.levels, task.part
        base = own.get("base") or "float32"
        self.abstract = {
            path: jax.ShapeDtypeStruct(leaf.shape, jnp.float32 if any(word in path for word in IN_FLOAT32) else jnp.dtype(base))
            for path, leaf in flat_params(task.dit).items()
        }
        added = jax.eval_shape(lambda key: init_lora(key, self.abstract, self.lora), jax.random.key(0))
        self.base, self.task = copy.copy(task), copy.copy(task)
        self.base.dit, self.task.dit = with_params(task.dit, self.abstract), adapted(task.dit, added)

    def init(self, key: PRNGKeyArray) -> Params:
        return self.base.init(key) | init_lora(jax.random.fold_in(key, 1), self.abstract, self.lora)

    def batches(self) -> Stream:
        return self.task.batches()

    def held_out(self, split: str) -> Stream:
        return self.task.held_out(split)

    def draw(self, batch: Any, key: PRNGKeyArray, sigma: Float[Array, " b"] | None = None) -> Any:
        return self.task.draw(batch, key, sigma)

    def loss(self, params: Params, examples: Any) -> tuple[Float[Array, " b"], Sums]:
        return self.task.loss(scaled(params, self.lora.scale), examples)

    def work(self, batch: Any) -> Work | None:
        """As if all were trained: the gradients of the frozen kernels, which nobody computes, are a third of it."""
        return self.task.work(batch)

    def export(self, params: Params, folder: Path) -> None:
        trained = {path: value for path, value in params.items() if path.endswith((A, B))}
        if self.part in PARTS:
            write_lora_part(folder, self.part, as_lora(trained, self.lora, self.abstract), {"licence": "Apache-2.0"})
        else:  # STEP2 is of use with its recipe, captions and VAE alone, so it is left whole
            kept = {path: value for path, value in params.items() if path not in trained}
            self.base.export(merged(kept, scaled(trained, self.lora.scale)), folder)
