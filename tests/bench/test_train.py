"""The benchmark of a training step, at tiny sizes: both contenders lose the same, and where the time goes is told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from stage_jax.bench import train
from stage_jax.bench.against_diffusers import OURS, PEER, Bench
from stage_jax.bench.contest import Timing
from stage_jax.bench.profile import profile
from stage_jax.cli.main import main
from tests.bench.test_wan import LATENT, TINY


@pytest.mark.torch
def test_the_contenders_lose_the_same():
    """Also after updates: the optimisers agree."""
    pytest.importorskip("diffusers")
    model = train.Model(replace(TINY, in_channels=36), (2, 36, *LATENT[2:]))
    result = train.bench_train("small", model, rounds=1, threads=1)
    (timing,) = result.timings
    assert timing.work == "small: training step" and all(values[0] > 0 for values in timing.seconds.values())
    assert 0 < result.differences["losses of small"] < 1e-4
    for who, products in ((OURS, "dot_general"), (PEER, "mm")):
        assert abs(sum(result.setting["profile"][who].values()) - 1) < 1e-6
        assert any(products in kind for kind in result.setting["profile"][who])


def test_a_profile_names_what_takes_the_time():
    def loss(w, x):
        return jnp.tanh(x @ w).sum()

    step = jax.jit(jax.grad(loss))
    w, x = jnp.ones((300, 300)), jnp.ones((400, 300))
    compiled = step.lower(w, x).compile()
    shares = profile(lambda: jax.block_until_ready(compiled(w, x)), compiled)
    assert abs(sum(shares.values()) - 1) < 1e-6 and list(shares.values()) == sorted(shares.values(), reverse=True)
    assert any(kind.startswith("forward") for kind in shares) and "backward dot_general" in shares


def test_what_is_printed_and_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    def bench(name: str, model: train.Model, **_: object) -> Bench:
        timing = Timing(f"{name}: {train.STEP}", {OURS: (1.0, 2.0, 3.0), PEER: (2.0, 4.0, 4.0)})
        profiles = {OURS: {"forward exp": 0.75, "other": 0.25}, PEER: {"aten::mm": 1.0}}
        setting = {"threads": 2, "versions": {"jax": "1.2"}, "profile": profiles}
        return Bench((timing,), {f"losses of {name}": 1e-6}, setting)

    monkeypatch.setattr(train, "bench_train", bench)
    assert main(["bench", "train", "--rounds", "3", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "tiny: training step" in printed and "0.50   0.50 to 0.75" in printed and "losses of 8x384 1.0e-06" in printed
    assert "tiny, stage_jax: forward exp 75%, other 25%" in printed and "8x384, diffusers: aten::mm 100%" in printed
    told = json.loads((tmp_path / "train.json").read_text())
    assert set(told) == set(train.MODELS) and (tmp_path / "train.png").read_bytes().startswith(b"\x89PNG")
