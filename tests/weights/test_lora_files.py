"""LoRA files: there and back in every dialect, into model folders, merged on export, and one line for what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from stage_jax.cli import main as cli
from stage_jax.errors import InputError
from stage_jax.models.lora import LoRA, joined, merged
from stage_jax.models.zoo import DITS
from stage_jax.weights.checkpoint import open_checkpoint
from stage_jax.weights.folder import open_part, read_manifest, write_part
from stage_jax.weights.lora_file import read_lora_file
from stage_jax.weights.lora_folder import Asked, read_asked, read_loras
from stage_jax.weights.lora_write import write_lora_files
from tests.weights.loras import assert_same, random_lora
from tests.weights.pipelines import random

TINY = DITS["wan2.1-i2v-tiny"]  # all linears there are
State = dict[str, np.ndarray]


def write(path: Path, lora: LoRA, dialect: str = "comfy") -> Path:
    write_lora_files(path, {"dit": lora}, dialect)
    return path


def write_model(folder: Path) -> Path:
    """A DiT alone."""
    write_part(folder, "dit", TINY, random("dit", TINY), dtype="bfloat16")
    return folder


def as_bfloat16(lora: LoRA) -> LoRA:
    return replace(lora, factors={name: factor.astype(jnp.bfloat16) for name, factor in lora.factors.items()})


@pytest.mark.parametrize("dialect", ["diffusers", "comfy", "kohya"])
@pytest.mark.parametrize("kind", ["plain", "rslora", "scale 1"])
def test_there_and_back(tmp_path: Path, dialect: str, kind: str):
    """Factors bit for bit, in their type; ranks and alphas that differ, rsLoRA and no alpha come back as the same scales."""
    lora = random_lora(TINY, alpha=None if kind == "scale 1" else 6.0, rslora=kind == "rslora")
    lora = as_bfloat16(lora) if kind == "plain" else lora
    found = read_lora_file(write(tmp_path / "lora.safetensors", lora, dialect))
    assert found.keys() == {"dit"}
    assert_same(found["dit"], lora)
    assert found["dit"].rslora is (kind == "rslora" and dialect == "diffusers")


def test_names_in_the_files(tmp_path: Path):
    names = {dialect: set(load_file(write(tmp_path / "x.safetensors", random_lora(TINY), dialect)))
             for dialect in ("diffusers", "comfy", "kohya")}  # fmt: skip
    assert "transformer.blocks.0.attn1.to_q.lora_A.weight" in names["diffusers"]
    assert "transformer.blocks.1.ffn.net.0.proj.lora_B.weight" in names["diffusers"]
    ends = ("lora_down.weight", "lora_up.weight", "alpha")
    assert {f"diffusion_model.blocks.0.self_attn.q.{end}" for end in ends} <= names["comfy"]
    assert "lora_unet_blocks_1_cross_attn_o.lora_up.weight" in names["kohya"]
    with safe_open(write(tmp_path / "x.safetensors", random_lora(TINY), "diffusers"), "np") as file:
        assert file.metadata()["format"] == "pt"


def test_two_experts(tmp_path: Path):
    """One file in diffusers' dialect, two in the others."""
    loras = {"dit": random_lora(TINY, 1), "dit_low": random_lora(TINY, 2, rslora=True)}
    (both,) = write_lora_files(tmp_path / "a.safetensors", loras, "diffusers")
    files = write_lora_files(tmp_path / "b.safetensors", loras, "comfy")
    assert [path.name for path in files] == ["b-high-noise.safetensors", "b-low-noise.safetensors"]
    for expert, file in zip(loras, files, strict=True):
        assert_same(read_lora_file(both)[expert], loras[expert])
        assert_same(read_lora_file(file)["dit"], loras[expert])
    assert cli.main(["convert", str(files[0]), str(tmp_path / "two"), "--low", str(files[1])]) == 0
    for expert, lora in read_loras(tmp_path / "two").items():
        assert_same(lora, loras[expert])
    asked = [Asked(both, 0.5), Asked(both, low=True), Asked(files[1], -1.0, low=True)]
    found = read_asked(asked, ("dit", "dit_low"), tmp_path)
    low = ["dit_low"]
    assert [(sorted(of), weight) for of, weight in found] == [(["dit", "dit_low"], 0.5), (low, 1.0), (low, -1.0)]
    assert_same(found[2][0]["dit_low"], loras["dit_low"])
    with pytest.raises(InputError, match="part dit_low, .* has none"):
        read_asked(asked[:1], ("dit",), tmp_path)


def test_other_dialects(tmp_path: Path):
    """DiffSynth's names, ComfyUI's with lora_A and without alpha; PEFT's folder, whose adapter_config.json has to be there."""
    lora = random_lora(TINY, alpha=None)
    stored = load_file(write(tmp_path / "x.safetensors", lora, "diffusers"))
    original = load_file(write(tmp_path / "x.safetensors", lora))
    original = {name: value for name, value in original.items() if "alpha" not in name}
    renamed = {"lora_down": "lora_A.default", "lora_up": "lora_B.default"}
    for start in ("", "pipe.dit."):
        state = {start + name.removeprefix("diffusion_model."): value for name, value in original.items()}
        for old, new in renamed.items():
            state = {name.replace(old, new): value for name, value in state.items()}
        save_file(state, tmp_path / "y.safetensors")
        assert_same(read_lora_file(tmp_path / "y.safetensors")["dit"], lora)

    peft = tmp_path / "peft"
    peft.mkdir()
    state = {name.replace("transformer.", "base_model.model."): value for name, value in stored.items()}
    save_file(state, peft / "adapter_model.safetensors")
    with pytest.raises(InputError, match="adapter_config.json: not found, expected it beside"):
        read_lora_file(peft)
    said = {"r": 3, "lora_alpha": 12, "use_rslora": True, "alpha_pattern": {"ffn.net.2": 5, r"^blocks\.0\.attn1\.to_q": 7}}
    (peft / "adapter_config.json").write_text(json.dumps(said))
    found = read_lora_file(peft)["dit"]
    first = "blocks.0.self_attention.query"
    alphas = dict.fromkeys(lora.alphas, 12.0) | {"blocks.0.ffn.down": 5.0, "blocks.1.ffn.down": 5.0, first: 7.0}
    assert found.alphas == alphas and found.rslora
    assert found.scale("blocks.1.ffn.down") == pytest.approx(5 / found.rank("blocks.1.ffn.down") ** 0.5)


def test_folders_and_merging(tmp_path: Path, capsys):
    """Converted into a model folder of its own and beside a DiT; written again; merged while the model is exported."""
    model = write_model(tmp_path / "model")
    lora, second = as_bfloat16(random_lora(TINY)), random_lora(TINY, 5, rslora=True)
    file, other = write(tmp_path / "a.safetensors", lora, "kohya"), write(tmp_path / "b.safetensors", second, "diffusers")
    for folder in (tmp_path / "alone", model):
        before = {part: entry for part, entry in read_manifest(model)["parts"].items() if folder == model}
        assert cli.main(["convert", str(file), str(folder), "--licence", "MIT"]) == 0
        parts = read_manifest(folder)["parts"]
        assert parts.pop("lora")["licence"] == "MIT" and parts == before
        assert_same(read_loras(folder)["dit"], lora)
        again = tmp_path / "again.safetensors"
        assert cli.main(["export", str(folder), str(again), "--format", "kohya", "--lora"]) == 0
        assert again.read_bytes() == file.read_bytes()
    assert cli.main(["convert", str(file), str(model)]) == 2
    assert "has a part lora already" in capsys.readouterr().err

    merge = [f"--merge={model}", f"--merge={other}:-0.5"]
    assert cli.main(["export", str(model), str(tmp_path / "out"), "--format", "diffusers", *merge]) == 0
    assert "left out, since the format diffusers has no place for it: lora\n" in capsys.readouterr().out
    found = open_checkpoint(tmp_path / "out" / "transformer")
    stored = open_part(model, "dit")
    base = {name: stored.read(name) for name in stored.entries}
    expected = merged({k: jnp.asarray(v) for k, v in base.items()}, joined([(lora, 1.0), (second, -0.5)], base))
    q = "blocks.1.self_attention.query.kernel"
    np.testing.assert_allclose(
        found.read("blocks.1.attn1.to_q.weight").astype(np.float32).T, expected[q].astype(np.float32), rtol=2**-7, atol=1e-6
    )
    assert np.abs(base[q].astype(np.float32) - expected[q].astype(np.float32)).max() > 0.1
    assert found.read("proj_out.weight").tobytes() == np.ascontiguousarray(base["head.projection.kernel"].T).tobytes()


DOWN, UP, ALPHA = (f"diffusion_model.blocks.0.ffn.0.{end}" for end in ("lora_down.weight", "lora_up.weight", "alpha"))
NAN = np.full((64, 3), np.nan, np.float32)
BAD: dict[str, tuple[Callable[[State], State], str]] = {
    "a half": (lambda s: {k: v for k, v in s.items() if k != UP}, r"without its other half \(B\)"),
    "ranks": (lambda s: s | {UP: s[UP][:, :2].copy()}, r"are \[3, 32\] and \[64, 2\], expected one rank"),
    "no rank": (lambda s: s | {UP: s[UP][:, :0].copy(), DOWN: s[DOWN][:0]}, "expected one rank above 0"),
    "axes": (lambda s: s | {UP: s[UP][..., None]}, r"is \[64, 3, 1\], expected two axes"),
    "numbers": (lambda s: s | {UP: NAN}, "holds numbers that are not finite"),
    "kinds": (lambda s: s | {UP: s[UP].astype(np.int32)}, "is I32, expected F32"),
    "alphas": (lambda s: s | {ALPHA: np.float32([1, 2])}, r"is F32 \[2\], expected one number"),
    "infinite alpha": (lambda s: s | {ALPHA: np.array(np.inf, np.float32)}, "is inf, expected a finite number"),
    "dora": (lambda s: s | {UP.replace("lora_up.weight", "dora_scale"): s[UP]}, "dora_scale is not read"),
    "difference": (lambda s: s | {"diffusion_model.blocks.0.ffn.0.diff_b": s[UP][:, 0].copy()}, "diff_b is not read"),
    "other model": (lambda s: {k.replace("ffn.0", "mlp.0"): v for k, v in s.items()}, r"mlp\.0\.\S+ is not read"),
    "no linear": (lambda s: s | {k.replace("blocks.0.ffn.0", "patch_embedding"): s[k] for k in (UP, DOWN)}, "patch_em.* not"),
    "twice": (lambda s: s | {"lora_unet_blocks_0_ffn_0.lora_up.weight": s[UP]}, "is there beside"),
    "weights": (lambda s: {"blocks.0.ffn.0.weight": s[UP]}, "found blocks.0.ffn.0.weight, expected a LoRA"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_files(tmp_path: Path, case: str):
    change, said = BAD[case]
    path = write(tmp_path / "a.safetensors", random_lora(TINY))
    save_file(change(load_file(path)), path)
    with pytest.raises(InputError, match=said) as caught:
        read_lora_file(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


METADATA = {
    "[": "not JSON", "[]": r"found \[\], expected a JSON object", '{"transformer.use_dora": true}': "use_dora: found True",
    '{"transformer.lora_alpha": "8"}': "lora_alpha: found '8'", '{"transformer.lora_alpha": NaN}': "lora_alpha: found nan",
    '{"transformer.alpha_pattern": {"(a+)+b": 1}}': "found '(a+)+b', expected names of modules".replace("(a+)+", r"\(a\+\)\+"),
    '{"transformer.use_rslora": 1}': "use_rslora: found 1, expected true or false",
}  # fmt: skip


@pytest.mark.parametrize("text", METADATA)
def test_bad_metadata(tmp_path: Path, text: str):
    path = write(tmp_path / "a.safetensors", random_lora(TINY), "diffusers")
    save_file(load_file(path), path, metadata={"lora_adapter_metadata": text})
    with pytest.raises(InputError, match=METADATA[text]):
        read_lora_file(path)


def test_truncated_and_misfit(tmp_path: Path, capsys):
    """Cut short, for a model of another width or with fewer layers: nothing is written."""
    model, path = write_model(tmp_path / "model"), tmp_path / "a.safetensors"
    for config, said in ((replace(TINY, ffn_dim=80), "with 80 inputs and 32 outputs, the model has it with 64 inputs and 32"),
                         (replace(TINY, layers=3), "is for blocks.2.")):  # fmt: skip
        write(path, random_lora(config))
        merge = ["export", str(model), str(tmp_path / "out"), "--format", "original", "--merge", str(path)]
        for command in (["convert", str(path), str(model)], merge):
            assert cli.main(command) == 2
            error = capsys.readouterr().err
            assert error.startswith(f"stage: {path}: ") and said in error and error.count("\n") == 1
    path.write_bytes(path.read_bytes()[:-10])
    assert cli.main(["convert", str(path), str(tmp_path / "new")]) == 2
    assert "was it cut short?" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.safetensors", "model"] and not (model / "lora").exists()


def test_flags(tmp_path: Path, capsys):
    path = write(tmp_path / "a.safetensors", random_lora(TINY))
    for flags, said in (
        (["--format", "original", "--lora"], "--format: found original, expected one of diffusers, comfy, kohya with --lora"),
        (["--format", "kohya"], "--format: found kohya, which is for LoRAs alone"),
        (["--format", "comfy", "--lora", "--merge", str(path)], "--merge: found with --lora"),
        (["--format", "comfy", "--merge", f"{path}:1e9"], "expected FILE:WEIGHT with a weight within 10,000"),
    ):
        assert cli.main(["export", str(tmp_path), str(tmp_path / "b.safetensors"), *flags]) == 2
        assert said in capsys.readouterr().err
