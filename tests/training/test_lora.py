"""Training adapters alone: what is in the state, what stays as it was, and what is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict
from safetensors.numpy import load_file

from data_pipeline.stream import Stream
from stage_jax.cli import main as cli
from stage_jax.errors import InputError
from stage_jax.models.dit import DiT
from stage_jax.models.stacking import flat_params, with_params
from stage_jax.recipes.wan import t2v_sequence
from stage_jax.training import train as loop
from stage_jax.training.state import Params, Sums
from stage_jax.training.tasks import filler, make_task, vae
from stage_jax.training.tasks.lora import LoRATask
from stage_jax.training.train import train
from stage_jax.weights.folder import write_part
from stage_jax.weights.lora_folder import read_loras
from stage_jax.weights.pipeline import our_part
from tests.training import sizes
from tests.training.toy import ToyTask, toy_config

CONFIG = sizes.DiTConfig(**sizes.DIT)
LORA = {"rank": 2, "alpha": 4, "pattern": r"blocks\.0\.(self_attention\.\w+|ffn\.up)", "base": "bfloat16"}


def row(index: int) -> np.ndarray:
    return np.random.default_rng(index % 2).standard_normal((16, 1, 4, 4), dtype=np.float32)


class SmallTask(ToyTask):
    """A DiT without captions: velocities of random latents."""

    def __init__(self, config: Any):
        self.folder, self.part = Path(config.get("init") or ""), "dit"
        self.dit = nnx.eval_shape(lambda: DiT(CONFIG, nnx.Rngs(0)))

    def init(self, key: PRNGKeyArray) -> Params:
        return our_part(self.folder, self.part).params(flat_params(self.dit))

    def batches(self) -> Stream:
        return Stream(grain.MapDataset.range(1000).map(row).batch(2), jax.device_put)

    def draw(self, batch: Any, key: PRNGKeyArray, sigma: Float[Array, " b"] | None = None) -> Any:
        return {"latent": batch}

    def loss(self, params: Params, examples: Any) -> tuple[Float[Array, " b"], Sums]:
        latent = examples["latent"]
        return jnp.square(velocity(with_params(self.dit, params), latent) + latent).mean((1, 2, 3, 4)), {}


def velocity(dit: DiT, latent: Array) -> Array:
    caption = jnp.zeros((len(latent), 1, CONFIG.text_dim))
    return dit(t2v_sequence(latent, jnp.full((len(latent),), 500.0), caption)).outputs[0]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A model folder whose head is not zero, else nothing but it would be trained at first."""
    params = jax.jit(lambda: flat_params(DiT(CONFIG, nnx.Rngs(1))))()
    params["head.projection.kernel"] = jax.random.normal(jax.random.key(2), params["head.projection.kernel"].shape) / 4
    write_part(tmp_path / "base", "dit", CONFIG, params)
    return tmp_path / "base"


@pytest.fixture
def config(base: Path, monkeypatch: pytest.MonkeyPatch) -> ConfigDict:
    monkeypatch.setattr(loop, "make_task", lambda config: LoRATask(SmallTask(config), config))
    return toy_config(6, init=str(base), lora=LORA, ema=0.5, checkpoint_every=4, data={"dir": "none"})


@pytest.mark.slow
def test_adapters_alone_are_trained(config: ConfigDict, tmp_path: Path):
    """The state holds adapters in float32 and no base, which is bfloat16 and stays as it was; the loss falls; what is left is
    a LoRA of the weights' average, bit for bit."""
    said: list[str] = []
    state = train(config, tmp_path / "run", said.append)
    count = sum(value.size for value in state.params.values())
    assert len(state.params) == 2 * 5 and count == 5 * 2 * 2 * 16
    assert {value.dtype.name for value in state.params.values()} == {"float32"}
    assert said[0].startswith(f"toy: {count:,} parameters and ") and " frozen, steps 0 to 6" in said[0]
    assert {leaf.shape for leaf in jax.tree.leaves(state.opt)} - {()} == {value.shape for value in state.params.values()}
    losses = [json.loads(line)["loss"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert losses[-1] < 0.95 * losses[0]

    lora = read_loras(tmp_path / "run" / "model")["dit"]
    assert lora.factors.keys() == state.ema.keys() and set(lora.alphas.values()) == {4.0}
    for path, factor in state.ema.items():
        np.testing.assert_array_equal(lora.factors[path], factor)
    start = LoRATask(SmallTask(config), config).init(jax.random.key(config.seed))
    kernels = {str(value.dtype) for path, value in start.items() if path.endswith("kernel") and "time" not in path}
    assert kernels == {"bfloat16"} and start["blocks.0.norm_cross.scale"].dtype == jnp.float32
    path = tmp_path / "a.safetensors"
    assert cli.main(["export", str(tmp_path / "run" / "model"), str(path), "--format", "comfy", "--lora"]) == 0
    assert len(load_file(path)) == 3 * 5


@pytest.mark.slow
def test_goes_on_from_adapters_alone(config: ConfigDict, tmp_path: Path):
    """Checkpoints hold no base; a run that went on from one ends as one that was not stopped."""
    state = train(config, tmp_path / "run", lambda line: None)
    (tmp_path / "run" / "checkpoints" / "6").rename(tmp_path / "gone")
    size = sum(file.stat().st_size for file in (tmp_path / "run" / "checkpoints").rglob("*") if file.is_file())
    assert size < 100_000 < (tmp_path / "base" / "dit" / "model.safetensors").stat().st_size * 4
    again = train(config, tmp_path / "run", lambda line: None)
    for one, other in zip(jax.tree.leaves(again), jax.tree.leaves(state), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"lora": {"rank": 2}}, "config.lora.alpha: not found, expected a number"),
        ({"lora": LORA | {"base": "int8"}}, "config.lora.base: found 'int8', expected float32 or bfloat16"),
        ({"lora": LORA}, "config.init: not found, expected the trained model"),
        ({"lora": LORA, "init": "x", "frozen": "a"}, "config.frozen: found beside config.lora"),
        ({"lora": LORA, "init": "x", "task": "vae"}, "config.lora: found with config.task vae, expected a task of Wan's"),
    ],
)
def test_configs_that_cannot_be(changes: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(filler, "FillerTask", SmallTask)
    monkeypatch.setattr(vae, "VAETask", ToyTask)
    with pytest.raises(InputError, match=said):
        make_task(toy_config(1, **{"task": "filler"} | changes))
