"""The whole measurement, once, on models with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image

from data_pipeline.toy_cinema.captions import vocabulary
from data_pipeline.toy_records import write_toy_records
from stage_jax.evaluation.goals import GOALS
from stage_jax.models.dit import DiT, DiTConfig
from stage_jax.models.stacking import flat_params
from stage_jax.models.tokenizer import WordTokenizer
from stage_jax.models.umt5 import UMT5Config, UMT5Encoder
from stage_jax.models.vae import VAE
from stage_jax.models.vae_config import VAEConfig
from stage_jax.weights.folder import write_part
from tests.evaluation.oracles import screenplay
from tests.tools import load_tool

LATENT, WIDTH, LENGTH = 16, 16, 40


@pytest.fixture(scope="module")
def program():
    return load_tool("measure_tiny")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tokenizer = WordTokenizer(vocabulary()[2:], LENGTH)
    (folder / "tokenizer").mkdir()
    tokenizer.save(folder / "tokenizer")
    vae = VAEConfig(
        base=4, multipliers=(1, 1, 1, 1), res_blocks=1, latent_channels=LATENT, latent_mean=(0.0,) * LATENT,
        latent_std=(1.0,) * LATENT,
    )  # fmt: skip
    text = UMT5Config(tokenizer.size, WIDTH, WIDTH, WIDTH, heads=2, layers=1, scan_layers=False)
    shared = dict(dim=WIDTH, ffn_dim=WIDTH, heads=2, layers=1, out_channels=LATENT, text_dim=WIDTH, text_len=LENGTH,
                  freq_dim=16, scan_layers=False, gate_init=1.0)  # fmt: skip
    sampling = {"steps": 2, "shift": 2.5, "guidance": 2.0, "size": [64, 64], "frames": 17}
    step2, filler = DiTConfig(in_channels=LATENT + 4, **shared), DiTConfig(in_channels=2 * LATENT + 4, **shared)
    for part, config, make, how in (
        ("vae", vae, VAE, None),
        ("umt5", text, UMT5Encoder, None),
        ("step2", step2, DiT, sampling),
        ("dit", filler, DiT, sampling | {"guidance": 1.0}),
    ):
        shapes = flat_params(nnx.eval_shape(lambda make=make, config=config: make(config, nnx.Rngs(0))))
        rng = np.random.default_rng(1)  # much faster than to initialise the models
        params = {n: jnp.asarray(0.2 * rng.standard_normal(s.shape, np.float32)) for n, s in shapes.items()}
        write_part(folder, part, config, params, sampling=how)
    return folder


@pytest.mark.slow
def test_everything_is_measured_and_written(program, model, tmp_path, capsys):
    write_toy_records(tmp_path / "toy", {"test": 2}, seed=19)  # two short stories
    arguments = ["--model", str(model), "--data", str(tmp_path / "toy"), "--stories", "2", "--draws", "1", "--seeds", "1",
                 "--screenplay", str(screenplay(tmp_path))]  # fmt: skip
    assert program.main([*arguments, "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    assert printed.out == (tmp_path / "out" / "figures.md").read_text(encoding="utf-8")
    assert "drawing, own rollout: 6/6" in printed.err
    content = json.loads((tmp_path / "out" / "figures.json").read_text(encoding="utf-8"))
    figures = {f"{f['part']}: {f['measure']}: {f['what']}": f for f in content["figures"]}
    assert content["weights"][0].keys() == {"vae", "umt5", "step2", "dit"} and content["settings"]["stories"] == 2
    assert all(np.isfinite(f["value"]) and f["n"] > 0 for f in content["figures"])
    missing = GOALS.keys() - figures.keys()
    assert not missing, f"goals that nothing measures: {missing}"
    assert figures["step2: own rollout: place"]["stories"] == 2  # drawn beyond the records
    for name in ("vae", "losses", "true_history", "rollout", "filler", "demo_seed_0"):
        with Image.open(tmp_path / "out" / f"{name}.png") as picture:
            assert picture.width > 200

    assert program.main([*arguments, "--parts", "demo", "--out", str(tmp_path / "again")]) == 0
    again = json.loads((tmp_path / "again" / "figures.json").read_text(encoding="utf-8"))["figures"]
    assert again == [f for f in content["figures"] if f["part"] == "demo"]
    assert (tmp_path / "again" / "demo_seed_0.png").read_bytes() == (tmp_path / "out" / "demo_seed_0.png").read_bytes()


def test_a_missing_model_is_one_line(program, tmp_path, capsys):
    assert program.main(["--model", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("measure_tiny: ") and error.count("\n") == 1 and "model.json" in error
    assert not (tmp_path / "out").exists()
