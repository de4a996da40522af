"""Which DiT a checkpoint holds: every published state dict by its keys and shapes alone, and what is no DiT by its name."""

from __future__ import annotations

import dataclasses
import functools
import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stage_jax.errors import InputError
from stage_jax.models.zoo import DITS
from stage_jax.weights.checkpoint import Checkpoint
from stage_jax.weights.detect import family_of, model_type, naming_of
from stage_jax.weights.dit_table import DIT_TABLE, dit_shapes
from stage_jax.weights.header import Stored
from stage_jax.weights.strangers import refuse_strangers, refuse_types
from stage_jax.weights.table import match
from tests.goldens import load_golden
from tests.models.dits import golden_config
from tests.weights.checkpoints import config_json, in_naming

PUBLISHED = Path(__file__).parents[1] / "data" / "state_dicts"
FULL = [name for name in DITS if name.startswith("wan") and not name.endswith("tiny")]
TYPES = {"t2v": "t2v", "i2v": "i2v", "flf2v": "flf2v", "ti2v": "ti2v"}


def checkpoint(shapes: Mapping[str, Any], dtype: str = "BF16", config: Mapping[str, Any] | None = None) -> Checkpoint:
    """A checkpoint of which only the headers are there."""
    file = Path("wan.safetensors")
    entries = {name: Stored(file, name, tuple(shape), dtype) for name, shape in shapes.items()}
    return Checkpoint(file, entries, config or {}, (file,))


def published(name: str) -> dict[str, Any]:
    return json.loads(gzip.decompress((PUBLISHED / f"{name.replace('-', '_')}.json.gz").read_bytes()))


loaded = functools.cache(load_golden)


def golden(name: str = "dit_t2v", naming: str = "original", **config: Any) -> Checkpoint:
    shapes = {key: array.shape for key, array in in_naming(loaded(name).weights, naming).items()}
    return checkpoint(shapes, config=config_json(loaded(name)) | config)


@pytest.mark.parametrize("naming", ["original", "diffusers"])
@pytest.mark.parametrize("name", FULL)
def test_released_models(name: str, naming: str):
    """Name and configuration of all seven, in both namings, without a config.json. Those of 2.2 that are two: by being two."""
    experts = 2 if "a14b" in name else 1
    found = checkpoint(in_naming(published(name), naming))
    refuse_strangers(found)
    assert naming_of(found) == naming
    assert family_of(found, naming, experts=experts) == (name, DITS[name])
    assert model_type(DITS[name]) == TYPES[name.split("-")[1]]


def test_one_expert_alone():
    """Of T2V it has the shapes of Wan2.1's 14B; of I2V nothing else has."""
    assert family_of(checkpoint(published("wan2.2-t2v-a14b")), "original")[0] == "wan2.1-t2v-14b"
    assert family_of(checkpoint(published("wan2.2-i2v-a14b")), "original")[0] == "wan2.2-i2v-a14b"
    assert family_of(checkpoint(published("wan2.1-i2v-14b")), "original", experts=2)[0] is None


@pytest.mark.parametrize("naming", ["original", "diffusers"])
@pytest.mark.parametrize("name", ["dit_t2v", "dit_i2v", "dit_flf2v", "dit_ti2v_2.2"])
def test_other_sizes(name: str, naming: str):
    found = golden(name, naming)
    expected = golden_config(loaded(name))
    assert family_of(found, naming_of(found)) == (None, expected)
    assert model_type(expected) == loaded(name).model["model_type"]


def test_heads_that_nothing_tells():
    """A size that is not Wan's, and no config.json: asked for, not guessed."""
    found = dataclasses.replace(golden(), config={})
    with pytest.raises(InputError, match="how many heads they have; --heads does"):
        family_of(found, "original")
    assert family_of(found, "original", heads=6)[1].heads == 6
    said = dataclasses.replace(found, config={"num_attention_heads": 8})
    assert family_of(said, "original")[1].heads == family_of(said, "original", heads=8)[1].heads == 8
    with pytest.raises(InputError, match="config.json says num_attention_heads 8, --heads says 6"):
        family_of(said, "original", heads=6)


def test_a_folder_could_have_a_config_beside(tmp_path: Path):
    for where, beside in ((tmp_path, True), (Path("wan.safetensors"), False)):
        with pytest.raises(InputError) as caught:
            family_of(dataclasses.replace(golden(), config={}, where=where), "original")
        assert ("a config.json beside" in str(caught.value)) == beside


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"num_layers": 4}, "config.json says num_layers 4, the weights say .*num_layers 3"),
        ({"dim": 1536, "in_dim": 36}, "config.json says dim 1536, in_dim 36, the weights say dim 96"),
        ({"image_dim": 1280}, "config.json says image_dim 1280"),
        ({"num_heads": 5}, "96 channels do not split into 5 heads"),
        ({"num_heads": "four"}, "heads: found 'four', expected a whole number"),
        ({"num_heads": True}, "heads: found True, expected a whole number"),
        ({"text_len": -1}, "text_len: found -1"),
        ({"text_len": 10**12}, "text_len: found 1000000000000"),
        ({"eps": 7}, "eps: found 7, expected a number between 0 and 1"),
        ({"num_heads": 0}, "heads: found 0, expected a whole number from 1"),
        ({"num_heads": "4" * 5000}, r"heads: found '4{199}\.\.\., expected"),
        ({"model_type": "i2v"}, "config.json says model_type 'i2v', the weights say .*model_type t2v"),
        ({"model_type": "flf2v"}, "config.json says model_type 'flf2v', the weights say .*model_type t2v"),
        ({"model_type": ["t2v"]}, r"config.json says model_type \['t2v'\]"),
        ({"attention_head_dim": 32}, "config.json says attention_head_dim 32, the weights say .*attention_head_dim 24"),
        ({"patch_size": [1, 4, 4]}, r"config.json says patch_size \[1, 4, 4\], the weights say .*patch_size \[1, 2, 2\]"),
        ({"qk_norm": False}, "config.json says qk_norm False, expected 'rms_norm_across_heads'"),
        ({"cross_attn_norm": False}, "config.json says cross_attn_norm False, expected True"),
    ],
)
def test_a_config_that_does_not_fit(said: dict, message: str):
    with pytest.raises(InputError, match=message) as caught:
        family_of(golden(**said), "original")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head.head.weight": None, "time_embedding.0.weight": None},
         "2 entries do not fit: time_embedding.0.weight is missing; head.head.weight is missing"),
        ({"patch_embedding.weight": (96, 16)}, r"patch_embedding.weight is \[96, 16\], expected 5 axes"),
        ({"patch_embedding.weight": (0, 16, 1, 2, 2)}, r"patch_embedding.weight is \[0, 16, 1, 2, 2\]"),
        ({"patch_embedding.weight": (96, 16, 0, 2, 2)}, r"patch_embedding.weight is \[96, 16, 0, 2, 2\]"),
        ({"blocks.0.ffn.0.weight": ()}, r"blocks.0.ffn.0.weight is \[\], expected 2 axes"),
    ],
)  # fmt: skip
def test_sizes_that_cannot_be_read(changes: dict, message: str):
    shapes = golden().shapes | changes
    found = checkpoint({name: shape for name, shape in shapes.items() if shape is not None}, config=golden().config)
    with pytest.raises(InputError, match=message):
        family_of(found, "original")


IMAGE = ("img_emb.", ".k_img.", ".v_img.", ".norm_k_img.")


def missing(name: str, gone, naming: str, **config: Any) -> str:
    """What `match` says of a golden without the entries whose original names `gone` picks."""
    kept = {key: array for key, array in loaded(name).weights.items() if not gone(key)}
    shapes = {key: array.shape for key, array in in_naming(kept, naming).items()}
    found = checkpoint(shapes, config=config_json(loaded(name)) | config)
    _, expected = family_of(found, naming)
    with pytest.raises(InputError) as caught:
        match(found.shapes, DIT_TABLE, dit_shapes(expected), "wan", naming)
    return str(caught.value)


@pytest.mark.parametrize("naming", ["original", "diffusers"])
def test_a_part_of_the_image_branch_is_not_another_model(naming: str):
    """Whatever is left of the branch speaks for the whole of it."""
    norm = {"original": "img_emb.proj.0.weight", "diffusers": "condition_embedder.image_embedder.norm1.weight"}[naming]
    assert missing("dit_i2v", "img_emb.proj.0.weight".__eq__, naming) == f"wan: 1 entries do not fit: {norm} is missing"
    assert "8 entries do not fit" in missing("dit_i2v", lambda key: "img_emb" in key, naming)
    for word in IMAGE:
        if word != "img_emb.":
            only = missing("dit_i2v", lambda key, word=word: any(w in key for w in IMAGE) and word not in key, naming)
            assert " is missing" in only and "not known" not in only
    assert "10 entries do not fit" in missing("dit_i2v", lambda key: "_img." in key, naming)


@pytest.mark.parametrize("naming", ["original", "diffusers"])
def test_two_images_need_their_positions(naming: str):
    """Where config.json speaks of them, in Wan's words or in diffusers'; where no entry of CLIP's is left, too."""
    name = {"original": "img_emb.emb_pos", "diffusers": "condition_embedder.image_embedder.pos_embed"}[naming]
    gone = "img_emb.emb_pos".__eq__
    assert missing("dit_flf2v", gone, naming) == f"wan: 1 entries do not fit: {name} is missing"
    said = missing("dit_flf2v", gone, naming, model_type=None, pos_embed_seq_len=514)
    assert said == f"wan: 1 entries do not fit: {name} is missing"
    assert f"{name} is missing" in missing("dit_flf2v", lambda key: any(word in key for word in IMAGE), naming)


def test_image_models_without_the_branch_are_those_of_2_2():
    kept = {k: a.shape for k, a in loaded("dit_i2v").weights.items() if not any(word in k for word in IMAGE)}
    config = family_of(checkpoint(kept, config=config_json(loaded("dit_i2v"))), "original")[1]
    assert (config.image_dim, config.in_channels, model_type(config)) == (None, 36, "i2v")


@pytest.mark.parametrize("name", ["wan2.1-t2v-1.3b", "wan2.1-flf2v-14b", "wan2.2-ti2v-5b"])
def test_released_models_without_their_last_layer(name: str):
    """Refused, unless config.json says that it is meant."""
    layers = DITS[name].layers
    shapes = {key: shape for key, shape in published(name).items() if f"blocks.{layers - 1}." not in key}
    with pytest.raises(InputError, match=f"found {layers - 1} layers, {name} has {layers}$"):
        family_of(checkpoint(shapes), "original")
    config = family_of(checkpoint(shapes, config={"num_layers": layers - 1}), "original")[1]
    assert config == dataclasses.replace(DITS[name], layers=layers - 1)


@pytest.mark.parametrize("number", ["4096", "0000000004", "-1", "1e9"])
def test_a_layer_that_cannot_be_does_not_count(number: str):
    """A million layers are not made because some entry claims to be the last of them."""
    found = checkpoint(golden().shapes | {f"blocks.{number}.modulation": (1, 6, 96)}, config=golden().config)
    assert family_of(found, "original")[1].layers == 3


STRANGERS = {
    "LoRA of diffusers": (["transformer.blocks.3.attn1.to_q.lora_A.weight"], "a LoRA in diffusers' naming"),
    "LoRA of diffusers, low noise": (["transformer_2.blocks.3.attn1.to_q.lora_B.weight"], "a LoRA in diffusers' naming"),
    "LoRA of ComfyUI": (["diffusion_model.blocks.3.self_attn.q.lora_A.weight"], "a LoRA in ComfyUI's naming"),
    "LoRA of ComfyUI, down": (["diffusion_model.blocks.3.self_attn.q.lora_down.weight"], "a LoRA in ComfyUI's naming"),
    "LoRA of differences": (["diffusion_model.blocks.3.self_attn.q.diff_b"], "a LoRA in ComfyUI's naming"),
    "LoRA of kohya": (["lora_unet_blocks_3_self_attn_q.lora_down.weight"], "a LoRA in kohya's naming"),
    "LoRA of DiffSynth": (["blocks.3.self_attn.q.lora_A.default.weight"], "a LoRA in DiffSynth's naming"),
    "LoRA of others": (["blocks.3.self_attn.q.lora_up.weight"], "a LoRA "),
    "LoHa": (["blocks.3.self_attn.q.hada_w1_a"], "a LoRA "),
    "scaled fp8": (["blocks.3.self_attn.q.weight", "blocks.3.self_attn.q.scale_weight"], "a scaled fp8 or otherwise"),
    "scaled fp8, marked": (["scaled_fp8"], "a scaled fp8 or otherwise"),
    "scaled fp8, another": (["blocks.3.self_attn.q.weight_scale"], "a scaled fp8 or otherwise"),
    "four bits": (["blocks.3.self_attn.q.weight.absmax"], "a scaled fp8 or otherwise quantised"),
    "VACE": (["patch_embedding.weight", "vace_blocks.0.modulation"], "a VACE model"),
    "Animate": (["patch_embedding.weight", "face_adapter.fuser_blocks.0.q_norm.weight"], "a Wan Animate model"),
    "speech": (["audio_injector.injector.0.q.weight"], "a speech-to-video model"),
    "control": (["control_adapter.conv.weight"], "a camera or control model"),
}  # fmt: skip


@pytest.mark.parametrize("case", STRANGERS)
def test_strangers_are_named(case: str):
    names, kind = STRANGERS[case]
    with pytest.raises(InputError, match=f"looks like {kind}") as caught:
        refuse_strangers(checkpoint(dict.fromkeys(names, (1,))))
    assert "expected the weights of a Wan DiT, VAE, umT5 or CLIP" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2", "I8", "U8", "BOOL", "F64", "I64"])
def test_types_that_weights_do_not_have(dtype: str):
    with pytest.raises(InputError, match=rf"patch_embedding.weight is {dtype}, expected F32, F16, BF16 \(\d+ such entries\)"):
        refuse_types(checkpoint(golden().shapes, dtype).entries.values())


def test_what_nobody_knows():
    with pytest.raises(InputError, match="holds no entries"):
        refuse_strangers(checkpoint({}))
    with pytest.raises(InputError, match="found entries called a, b, model.embed.weight, expected the weights of a"):
        naming_of(checkpoint({"model.embed.weight": (1,), "b": (1,), "a": (1,), "patch_embedding.bias": (1,), "q": (1,)}))
