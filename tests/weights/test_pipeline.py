"""Whole pipelines: there and back in every format bit for bit, opened where they lie, and one line for what is wrong."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from stage_jax.cli import main as cli
from stage_jax.errors import InputError
from stage_jax.models.stacking import flat_params, stack_params
from stage_jax.models.umt5 import UMT5Encoder
from stage_jax.weights.convert import convert
from stage_jax.weights.export import export
from stage_jax.weights.folder import part_config, part_hash, write_part
from stage_jax.weights.kinds import KINDS
from stage_jax.weights.pipeline import open_pipeline
from tests.weights.checkpoints import STEM, assert_identical, write_json
from tests.weights.pipelines import CLIP, PIPELINES, TOKENIZER, UMT5, VAE, arrays, random, write_pipeline
from tests.weights.torch_files import save_torch

FORMS = ["original", "diffusers"]
FILES = {
    ("i2v", "original"): {
        f"{STEM}.safetensors", "config.json", "Wan2.1_VAE.safetensors", "models_t5_umt5-xxl-enc-bf16.safetensors",
        "models_clip_open-clip-xlm-roberta-large-vit-huge-14.safetensors", *(f"google/umt5-xxl/{name}" for name in TOKENIZER),
    },
    ("i2v", "diffusers"): {
        f"transformer/{STEM}.safetensors", f"vae/{STEM}.safetensors", "text_encoder/model.safetensors",
        "image_encoder/model.safetensors", *(f"{name}/config.json" for name in ("transformer", "vae", "text_encoder")),
        "image_encoder/config.json", "model_index.json", "scheduler/scheduler_config.json",
        "image_processor/preprocessor_config.json", *(f"tokenizer/{name}" for name in TOKENIZER),
    },
    ("i2v", "comfy"): {
        "wan-dit.safetensors", "wan_2.1_vae.safetensors", "umt5_xxl.safetensors", "clip_vision_h.safetensors"},
}  # fmt: skip


@pytest.fixture(params=PIPELINES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def model(tmp_path: Path, name: str) -> Path:
    return write_pipeline(tmp_path / "model", name)


def exported(tmp_path: Path, name: str, form: str) -> Path:
    """A pipeline in another format; without CLIP's text tower, which only one of them has."""
    write_pipeline(tmp_path / "model", name)
    if name == "i2v" and form != "original":
        config = dataclasses.replace(CLIP, text=None)
        write_part(tmp_path / "model", "clip", config, random("clip", config), dtype="float16")
    export(tmp_path / "model", tmp_path / form, form)
    return tmp_path / form


def as_pickles(folder: Path) -> None:
    """The encoders' files as Wan's own folder has them."""
    for file in sorted(folder.glob("*.safetensors")):
        if not file.name.startswith(STEM):
            save_torch(load_file(file), file.with_suffix(".pth"))
            file.unlink()


@pytest.mark.parametrize("form", FORMS)
def test_there_and_back(tmp_path: Path, name: str, form: str):
    """All parts with their configurations, bit for bit, and the tokenizer's files."""
    folder = exported(tmp_path, name, form)
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == FILES.get((name, form), files)
    if form == "original":
        as_pickles(folder)
    (folder / ("google/umt5-xxl" if form == "original" else "tokenizer") / "notes.txt").write_text("not the tokenizer's")
    done = convert(folder, tmp_path / "again")
    assert done.parts == (*PIPELINES[name], "tokenizer")
    for part in PIPELINES[name]:
        assert_identical(arrays(tmp_path / "again", part), arrays(tmp_path / "model", part))
        config = KINDS[part].config
        assert part_config(tmp_path / "again", part, config) == part_config(tmp_path / "model", part, config)
    assert {path.name: path.read_bytes() for path in (tmp_path / "again" / "tokenizer").iterdir()} == TOKENIZER


def test_comfy_there_and_back(tmp_path: Path):
    """One file for each part; umT5's has its tokenizer in it, which is found there again."""
    folder = exported(tmp_path, "i2v", "comfy")
    assert {path.name for path in folder.iterdir()} == FILES["i2v", "comfy"]
    text = load_file(folder / "umt5_xxl.safetensors")
    assert text["spiece_model"].tobytes() == TOKENIZER["spiece.model"] and "shared.weight" in text
    assert convert(folder, tmp_path / "again", heads=2).parts == ("dit", "vae", "umt5", "clip", "tokenizer")
    tokenizer = {path.name: path.read_bytes() for path in (tmp_path / "again" / "tokenizer").iterdir()}
    assert tokenizer == {"spiece.model": TOKENIZER["spiece.model"]}
    export(tmp_path / "again", tmp_path / "comfy-again", "comfy")
    again = sorted(path.read_bytes() for path in (tmp_path / "comfy-again").iterdir())
    assert again == sorted(path.read_bytes() for path in folder.iterdir())
    for part in PIPELINES["i2v"]:
        assert_identical(arrays(tmp_path / "again", part), arrays(tmp_path / "model", part))
    for part, file in (("vae", "wan_2.1_vae"), ("umt5", "umt5_xxl"), ("clip", "clip_vision_h")):
        assert convert(folder / f"{file}.safetensors", tmp_path / part).parts[0] == part
        assert_identical(arrays(tmp_path / part, part), arrays(tmp_path / "model", part))


def test_the_text_tower_is_said_to_be_left_out(tmp_path: Path, capsys: pytest.CaptureFixture):
    write_pipeline(tmp_path / "model", "i2v")
    assert cli.main(["export", str(tmp_path / "model"), str(tmp_path / "out"), "--format", "diffusers"]) == 0
    said = capsys.readouterr().out
    assert said.endswith("left out, since the format diffusers has no place for it: CLIP's text tower\n")
    assert not any("text" in name for name in load_file(tmp_path / "out" / "image_encoder" / "model.safetensors"))
    assert cli.main(["convert", str(tmp_path / "out"), str(tmp_path / "again")]) == 0
    assert "wan2.1-i2v-tiny: dit, vae, umt5, clip, tokenizer, " in capsys.readouterr().out


def test_what_diffusers_is_told(tmp_path: Path):
    index = json.loads((exported(tmp_path, "a14b", "diffusers") / "model_index.json").read_text())
    assert (index["_class_name"], index["boundary_ratio"], index["expand_timesteps"]) == ("WanPipeline", 0.875, False)
    assert index["transformer_2"] == ["diffusers", "WanTransformer3DModel"]
    assert json.loads((tmp_path / "diffusers" / "scheduler" / "scheduler_config.json").read_text())["flow_shift"] == 7.0


@pytest.mark.parametrize("said", [{"boundary": 0.3, "shift": 2.0, "guidance": [3.0, 4.0]}, None])
def test_diffusers_keeps_how_two_experts_are_sampled(tmp_path: Path, said: dict | None):
    """What model.json says goes there and back; where it says nothing, the release's is written."""
    for part in ("dit", "dit_low"):
        config = PIPELINES["a14b"][part]
        write_part(tmp_path / "model", part, config, random(part, config), sampling=said if part == "dit" else None)
    assert cli.main(["export", str(tmp_path / "model"), str(tmp_path / "there"), "--format", "diffusers"]) == 0
    expected = {"boundary": 0.3, "shift": 2.0} if said else {"boundary": 0.875, "shift": 12.0}
    assert json.loads((tmp_path / "there/model_index.json").read_text())["boundary_ratio"] == expected["boundary"]
    assert open_pipeline(tmp_path / "there").part("dit").sampling == expected
    convert(tmp_path / "there", tmp_path / "again", sampling=lambda model: {"boundary": 0.5, "steps": 9})
    kept = open_pipeline(tmp_path / "again").part("dit")
    assert kept.sampling == expected | ({"steps": 9} if kept.model else {})


def test_two_experts_without_a_boundary_are_not_exported_to_diffusers(tmp_path: Path):
    for part in ("dit", "dit_low"):
        write_part(tmp_path / "model", part, PIPELINES["a14b"][part], random(part, PIPELINES["a14b"][part]))
    with pytest.raises(InputError, match=r"sampling\.boundary: not found"):
        export(tmp_path / "model", tmp_path / "there", "diffusers")
    assert not (tmp_path / "there").exists()


def test_two_experts_of_comfy(tmp_path: Path):
    """Their folder is refused with the way to take both."""
    folder = exported(tmp_path, "a14b", "comfy")
    with pytest.raises(InputError, match=r"a Wan DiT, expected one of them; of two experts, .*--low LOW"):
        convert(folder, tmp_path / "again", heads=2)
    high, low = sorted(folder.glob("*-noise.safetensors"))
    assert convert(high, tmp_path / "again", low=low, heads=2).parts == ("dit", "dit_low")


@pytest.mark.parametrize("wrong", [np.zeros(9, np.float32), np.zeros((3, 3), np.uint8), np.zeros(0, np.uint8)])
def test_a_tokenizer_among_the_weights_that_is_none(tmp_path: Path, wrong: np.ndarray):
    folder = exported(tmp_path, "ti2v", "comfy")
    change("umt5_xxl.safetensors", spiece_model=wrong)(folder)
    with pytest.raises(InputError, match="umt5_xxl.safetensors: spiece_model is .*, expected 1 to"):
        convert(folder, tmp_path / "again", heads=2)


@pytest.mark.parametrize("form", ["model", *FORMS])
def test_open_pipeline(tmp_path: Path, name: str, form: str):
    """The same parts, configurations and arrays from all three, in our layout; hashes where there are some."""
    where = exported(tmp_path, name, "original" if form == "model" else form)
    where = tmp_path / form
    pipeline, expected = open_pipeline(where), open_pipeline(tmp_path / "model")
    assert [*pipeline.parts] == [*PIPELINES[name]]
    for part, found in pipeline.parts.items():
        ours = expected.part(part)
        assert found.config == ours.config and dict(found.specs) == dict(ours.specs)
        assert found.sha256 == (part_hash(where, part) if form == "model" else None)
        hashes = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in found.checkpoint.files}
        lines = "".join(f"{file} {hashes[file]}\n" for file in sorted(hashes))
        digest = hashlib.sha256(lines.encode()).hexdigest() if len(hashes) > 1 else next(iter(hashes.values()))
        assert found.digest() == digest
        assert_identical({path: found.read(path) for path in found.specs}, {path: ours.read(path) for path in ours.specs})
    assert (pipeline.tokenizer / "spiece.model").read_bytes() == TOKENIZER["spiece.model"]
    boundary = {"boundary": 0.875} if form == "model" or name == "a14b" else {}
    assert pipeline.part("dit").sampling == (None if form == "original" else {"shift": 7.0} | boundary)


@pytest.mark.parametrize("form", ["model", *FORMS])
def test_streamed_onto_devices(tmp_path: Path, form: str):
    exported(tmp_path, "ti2v", "original" if form == "model" else form)
    model = nnx.eval_shape(lambda: UMT5Encoder(UMT5, nnx.Rngs(0)))
    params = open_pipeline(tmp_path / form).part("umt5").params(flat_params(model), dtype="bfloat16")
    expected = stack_params(random("umt5", UMT5))
    assert params.keys() == expected.keys() and params["blocks.up.kernel"].ndim == 3
    jax.tree.map(np.testing.assert_array_equal, params, {path: a.astype("bfloat16") for path, a in expected.items()})


def test_parts_that_are_asked_for_and_not_there(tmp_path: Path):
    export(write_pipeline(tmp_path / "model", "ti2v"), tmp_path / "wan", "original")
    (tmp_path / "wan" / "Wan2.2_VAE.safetensors").unlink()
    shutil.rmtree(tmp_path / "wan" / "google")
    pipeline = open_pipeline(tmp_path / "wan")
    with pytest.raises(InputError, match=r"wan: no vae \(a VAE\), found dit, umt5$"):
        pipeline.part("vae")
    with pytest.raises(InputError, match="wan: no tokenizer, expected the folder"):
        _ = pipeline.tokenizer


def swap(first: str, second: str):
    def spoil(folder: Path) -> None:
        for name in (f"{STEM}.safetensors", "model.safetensors"):
            if (folder / first / name).exists() and (folder / second).exists():
                (folder / first / name).unlink()
        source = next((folder / second).glob("*.safetensors"))
        shutil.copy(source, folder / first / source.name)

    return spoil


def cut(name: str):
    def spoil(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])

    return spoil


def change(name: str, **entries: np.ndarray | None):
    def spoil(folder: Path) -> None:
        state = load_file(folder / name) | {key: value for key, value in entries.items() if value is not None}
        save_file({key: value for key, value in state.items() if entries.get(key, 0) is not None}, folder / name)

    return spoil


def say(name: str, **said: object):
    def spoil(folder: Path) -> None:
        write_json(folder / name, json.loads((folder / name).read_text()) | said)

    return spoil


def pickled_and_cut(folder: Path) -> None:
    as_pickles(folder)
    cut("Wan2.1_VAE.pth")(folder)


T5, VAE_FILE = "models_t5_umt5-xxl-enc-bf16.safetensors", "Wan2.1_VAE.safetensors"
ZEROS = np.zeros(3, np.float32)
WRONG = {
    "vae missing": ("diffusers", lambda f: shutil.rmtree(f / "vae"), "vae: not found, though model_index.json names vae"),
    "tokenizer missing": ("diffusers", lambda f: shutil.rmtree(f / "tokenizer"), "tokenizer: not found, though model_index"),
    "no vocabulary": ("original", lambda f: [(f / "google/umt5-xxl" / n).unlink() for n in ("tokenizer.json", "spiece.model")],
                      "google/umt5-xxl: no tokenizer.json or spiece.model in it"),
    "umT5 for a VAE": ("diffusers", swap("vae", "text_encoder"), "vae: looks like a umT5 text encoder (its entry "),
    "CLIP for umT5": ("diffusers", swap("text_encoder", "image_encoder"), "text_encoder: looks like a CLIP model"),
    "a VAE for a DiT": ("diffusers", swap("transformer", "vae"), "transformer: looks like a VAE (its entry "),
    "two VAEs": ("original", lambda f: shutil.copy(f / VAE_FILE, f / "b.safetensors"), "that are a VAE, expected one of them"),
    "truncated": ("original", cut(VAE_FILE), "Wan2.1_VAE.safetensors: "),
    "truncated pickle": ("original", pickled_and_cut, "Wan2.1_VAE.pth: not a file of torch.save"),
    "a LoRA beside": ("original", lambda f: save_file({"x.lora_A.weight": ZEROS}, f / "x.safetensors"), "looks like a LoRA"),
    "a boundary of 2": ("diffusers", say("model_index.json", boundary_ratio=2), "boundary_ratio: found 2, expected a number"),
    "a shift of words": ("diffusers", say("scheduler/scheduler_config.json", flow_shift="big"), "flow_shift: found 'big'"),
    "an endless shift": ("diffusers", say("scheduler/scheduler_config.json", flow_shift=float("inf")), "flow_shift: found inf"),
    "an entry too few": ("original", change(VAE_FILE, **{"conv1.bias": None}), "1 entries do not fit: conv1.bias is missing"),
    "an entry too many": ("original", change(T5, **{"decoder.x": ZEROS}), "1 entries do not fit: decoder.x is not known"),
    "another shape": ("original", change(T5, **{"norm.weight": ZEROS}), "norm.weight is [3], expected [24]"),
    "another type": ("original", change(T5, **{"norm.weight": np.zeros(24, np.int8)}), "norm.weight is I8, expected F32, F16"),
    "sizes missing": ("original", change(VAE_FILE, **{"conv2.weight": None}), "1 entries do not fit: conv2.weight is missing"),
    "no blocks": ("original", change(VAE_FILE, **{"encoder.downsamples.0.residual.2.weight": None}), "stages of blocks"),
    "config of another VAE": ("diffusers", say("vae/config.json", z_dim=48), "config.json says z_dim 48, the weights say"),
    "no deviation": ("diffusers", say("vae/config.json", latents_std=[1.0]), "latents_std: found [1.0], expected 16 numbers"),
    "deviation of 0": ("diffusers", say("vae/config.json", latents_std=[0.0] * 16), "latents_std: found 0.0"),
    "another feed-forward": ("diffusers", say("text_encoder/config.json", feed_forward_proj="relu"), "expected 'gated-gelu'"),
    "another distance": ("diffusers", say("text_encoder/config.json", relative_attention_max_distance=-1), "found -1"),
    "another GELU": ("diffusers", say("image_encoder/config.json", hidden_act="quick_gelu"), "expected 'gelu'"),
    "other heads": ("diffusers", say("image_encoder/config.json", num_attention_heads=3), "20 channels in 3 heads"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_bad_parts(tmp_path: Path, case: str, capsys: pytest.CaptureFixture):
    """One line that names the file or folder, exit code 2, and nothing is written."""
    form, spoil, message = WRONG[case]
    folder = exported(tmp_path, "i2v", form)
    spoil(folder)
    capsys.readouterr()
    assert cli.main(["convert", str(folder), str(tmp_path / "again")]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"stage: {folder}") and said.count("\n") == 1 and message in said
    assert not (tmp_path / "again").exists()


def test_a_tokenizer_that_leads_outside(tmp_path: Path):
    folder = exported(tmp_path, "ti2v", "original")
    (tmp_path / "secret").write_text("secret")
    (folder / "google/umt5-xxl/tokenizer.json").unlink()
    (folder / "google/umt5-xxl/tokenizer.json").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match="tokenizer.json: leads out of"):
        convert(folder, tmp_path / "again")


@pytest.mark.parametrize(
    ("part", "config", "message"),
    [
        ("vae", dataclasses.replace(VAE, latent_mean=(0.0,) * 16), r"vae: latent_mean: found \(0.0.*, expected \(-0.7571"),
        ("umt5", dataclasses.replace(UMT5, max_distance=64), "umt5: max_distance: found 64, expected 128, since the format"),
        ("clip", dataclasses.replace(CLIP, heads=4), "clip: heads: found 4, expected 2, since the format original"),
    ],
)
def test_what_a_format_cannot_say(tmp_path: Path, part: str, config: object, message: str):
    write_part(tmp_path / "model", part, config, random(part, config))
    with pytest.raises(InputError, match=message):
        export(tmp_path / "model", tmp_path / "out", "original")
    export(tmp_path / "model", tmp_path / "out", "diffusers")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("out")] == ["out"]
