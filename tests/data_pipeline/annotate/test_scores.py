"""Scores of shots: an aesthetic head on a tiny CLIP, and limits that leave shots out."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file

from data_pipeline.annotate.aesthetic import Aesthetic
from data_pipeline.annotate.film import annotate_film
from data_pipeline.annotate.parts import Asked, open_parts
from data_pipeline.annotate.scores import Filtered, Scored
from data_pipeline.annotate.told import untold
from data_pipeline.film_folder import film_sources
from data_pipeline.ingest.shots import write_shots
from stage_jax.cli.main import main
from stage_jax.errors import InputError
from stage_jax.models.clip import CLIP, CLIPConfig
from stage_jax.models.clip_pictures import clip_pictures
from stage_jax.models.stacking import flat_params
from stage_jax.weights.folder import write_part
from tests.data_pipeline.annotate.films import write_film
from tests.goldens import drawn

CONFIG = CLIPConfig(dim=8, ffn_dim=12, heads=2, layers=2, picture=28, projection=6)
PICTURE = np.random.default_rng(0).integers(0, 256, (30, 50, 3), np.uint8)


@pytest.fixture(scope="module")
def clip() -> CLIP:
    return drawn(nnx.eval_shape(lambda: CLIP(CONFIG, nnx.Rngs(0))))


@pytest.fixture(scope="module")
def model(clip: CLIP, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    write_part(folder, "clip", CONFIG, flat_params(clip))
    return folder


def head(path: Path, **arrays: np.ndarray) -> Path:
    save_file(arrays, path)
    return path


def test_the_head_reads_the_normalised_embedding(clip: CLIP, model: Path, tmp_path: Path) -> None:
    weight, bias = np.arange(6, dtype=np.float16)[None], np.array([5.0], np.float32)
    score = Aesthetic(head(tmp_path / "h.safetensors", weight=weight, bias=bias), model)(PICTURE)
    seen = np.asarray(jax.jit(clip.vision.embed)(clip_pictures(PICTURE[None] / 127.5 - 1, 28)))[0]
    assert score == pytest.approx(float(weight[0] @ (seen / np.linalg.norm(seen)) + 5), abs=1e-5)


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"weight": np.zeros((1, 768), np.float32), "bias": np.zeros(1, np.float32)}, r"weight \[1, 768\].*weight \[1, 6\]"),
        ({"weight": np.zeros((1, 6), np.float32)}, r"found weight \[1, 6\] F32, expected bias"),
        ({"weight": np.zeros((1, 6), np.int32), "bias": np.zeros(1, np.float32)}, r"weight \[1, 6\] I32"),
    ],
)
def test_heads_of_another_model(arrays: dict, expected: str, model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=expected):
        Aesthetic(head(tmp_path / "h.safetensors", **arrays), model)


def test_pickles_are_not_read(model: Path, tmp_path: Path) -> None:
    (tmp_path / "h.pth").write_bytes(b"\x80\x04cos\nsystem\n(S'touch owned'\ntR.")
    with pytest.raises(InputError, match="not a safetensors file"):
        Aesthetic(tmp_path / "h.pth", model)
    for task in ("watermark", "faces", "vlm"):
        folder = tmp_path / task
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
        with pytest.raises(InputError, match=f"{task}: found no ..safetensors, expected weights in that form"):
            open_parts(Asked(**{task: folder}), tmp_path)


class Brightness:
    name = "brightness"

    def __init__(self, over: str) -> None:
        self.over = over

    def __call__(self, picture: np.ndarray) -> float:
        return float(picture.mean())


def test_limits_leave_shots_out(tmp_path: Path) -> None:
    """Shots are grey 20, 60 and 100."""
    told = untold(write_film(tmp_path / "bunny"))
    scored = Scored(Brightness("mean"))(told)
    assert [shot.scores for shot in scored.shots] == [{"brightness": grey} for grey in (20, 60, 100)]
    left = Filtered({"brightness": 30.0}, {"brightness": 99.5})(scored)
    assert [shot.dropped for shot in left.shots] == ["brightness 20 below 30", "", "brightness 100 above 99.5"]
    parts = [Scored(Brightness("most")), Filtered({"brightness": 30.0}, {})]
    annotate_film(tmp_path / "bunny", parts)
    other = write_film(tmp_path / "other")
    write_shots(other.folder, [dataclasses.replace(shot, kept=False) for shot in other.shots])
    sources = film_sources(tmp_path).sources
    assert [[shot.id for _, shot in source.load().story.shots()] for source in sources] == [["SH020"], ["SH010"]]
    annotate_film(tmp_path / "bunny", [*parts, Filtered({"brightness": 300.0}, {})])
    with pytest.raises(InputError, match="found no shot that is in a story"):
        film_sources(tmp_path)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (lambda _: Asked(least=(("aesthetic", 4.0),)), "limit of 'aesthetic': found no such score, expected scores first"),
        (lambda folder: Asked(aesthetic=folder / "h"), "h: found no model folder, expected that of the CLIP"),
        (lambda folder: Asked(watermark=folder), "found no config.json"),
    ],
)
def test_what_does_not_go_together(asked: Callable[[Path], Asked], expected: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=expected):
        open_parts(asked(tmp_path), tmp_path)


def test_where_there_is_no_jax(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "data_pipeline.annotate.aesthetic", None)
    with pytest.raises(InputError, match=r"h: cannot be run \(.*\), expected an environment with JAX"):
        open_parts(Asked(aesthetic=tmp_path / "h", clip=tmp_path), tmp_path)


def test_a_limit_is_a_number(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for text in ("aesthetic", "aesthetic=high", "aesthetic=nan"):
        assert main(["data", "annotate", str(tmp_path), "--least", text]) == 2
        assert f"found '{text}', expected a score and a number" in capsys.readouterr().err
