"""The benchmarks against diffusers, at tiny sizes: both contenders compute the same, and the verb prints ratios."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stage_jax.bench import against_diffusers, vae, wan
from stage_jax.bench.against_diffusers import OURS, PEER, Bench, agreeing
from stage_jax.bench.contest import Timing
from stage_jax.cli.main import main
from stage_jax.errors import InputError
from stage_jax.models.dit import DiTConfig

TINY = DiTConfig(dim=24, ffn_dim=32, heads=2, layers=2, text_dim=6, text_len=4, freq_dim=16, scan_layers=False)
LATENT = (1, 16, 2, 4, 4)


@pytest.mark.torch
def test_the_contenders_agree():
    pytest.importorskip("diffusers")
    result = wan.bench_wan(rounds=1, threads=1, config=TINY, latent=LATENT)
    assert [timing.work for timing in result.timings] == [wan.FORWARD, wan.TRAINING]
    assert all(len(values) == 1 and values[0] > 0 for timing in result.timings for values in timing.seconds.values())
    assert result.differences["output"] < 2e-5 and result.differences["gradients"] < 1e-4


@pytest.mark.torch
def test_the_vaes_agree():
    pytest.importorskip("diffusers")
    result = vae.bench_vae(rounds=1, threads=1, size="wan2.2-tiny", video=(5, 32, 32))
    assert [timing.work for timing in result.timings] == [vae.ENCODE, vae.DECODE]
    assert 0 < result.differences["latents"] < 2e-5 and 0 < result.differences["pictures"] < 2e-5


@pytest.mark.parametrize("broken", [{"output": np.nan}, {"weight": np.nan}, {"weight": 1.01}, {"output": 1.01}])
def test_what_does_not_agree_is_refused(broken: dict[str, float]):
    """Not a number is no agreement either."""
    peer = {"output": np.ones(3, np.float32), "weight": np.ones(2, np.float32), "bias": np.ones(2, np.float32)}
    assert wan.compare(peer, peer) == {"output": 0, "gradients": 0}
    with pytest.raises(InputError, match="differ by"):
        agreeing(wan.compare(peer | {name: peer[name] * factor for name, factor in broken.items()}, peer))


@pytest.mark.torch
def test_a_peer_that_computes_something_else_is_refused(monkeypatch: pytest.MonkeyPatch):
    """A ratio between programs that differ means nothing."""
    pytest.importorskip("diffusers")
    monkeypatch.setattr(against_diffusers, "AGREE", 0.0)
    with pytest.raises(InputError, match="differ by"):
        wan.bench_wan(rounds=1, threads=1, config=replace(TINY, layers=1), latent=LATENT)


def test_without_diffusers(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(against_diffusers.importlib.util, "find_spec", lambda name: None)
    assert main(["bench", "wan"]) == 2
    assert "diffusers is not installed" in capsys.readouterr().err


def test_what_is_printed_and_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    timing = Timing(wan.FORWARD, {OURS: (1.0, 2.0, 3.0), PEER: (2.0, 4.0, 4.0)})
    setting = {"threads": 2, "versions": {"jax": "1.2"}}
    monkeypatch.setattr(wan, "bench_wan", lambda **_: Bench((timing,), {"output": 1e-6}, setting))
    slow = Timing(vae.DECODE, {OURS: (6.0, 6.0, 6.0), PEER: (4.0, 4.0, 4.0)})
    monkeypatch.setattr(vae, "bench_vae", lambda **_: Bench((slow,), {"pictures": 2e-6}, setting))
    assert main(["bench", "wan", "--rounds", "3", "--out", str(tmp_path / "new" / "bench")]) == 0
    printed = capsys.readouterr().out
    assert "forward" in printed and "0.50   0.50 to 0.75" in printed and "2 threads; jax 1.2" in printed
    assert "1.50   1.50 to 1.50" in printed and "output 1.0e-06, pictures 2.0e-06" in printed
    told = json.loads((tmp_path / "new" / "bench" / "wan.json").read_text())
    assert (told["dit"]["timings"][0]["work"], told["vae"]["timings"][0]["work"]) == (wan.FORWARD, vae.DECODE)
    assert (tmp_path / "new" / "bench" / "wan.png").read_bytes().startswith(b"\x89PNG")
    assert main(["bench", "wan", "--rounds", "3", "--part", "vae"]) == 0
    assert "forward" not in capsys.readouterr().out
