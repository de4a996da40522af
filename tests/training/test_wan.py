"""Training Wan's own forms: what a batch holds, what is trained, from where, and that what comes out makes videos."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from ml_collections import ConfigDict

from data_pipeline.records import open_records
from data_pipeline.toy_records import write_toy_records
from stage_jax.errors import InputError
from stage_jax.generate.video_folder import open_models
from stage_jax.models import zoo
from stage_jax.models.clip import CLIP, CLIPConfig
from stage_jax.models.clip_pictures import clip_pictures
from stage_jax.models.dit import DiTConfig
from stage_jax.models.stacking import flat_params, stack_params, with_params
from stage_jax.models.vae import VAE
from stage_jax.models.vae_config import VAEConfig
from stage_jax.recipes.wan import flf2v_condition, i2v_condition, t2v_sequence
from stage_jax.sampling.denoise import denoise
from stage_jax.sampling.named import solver_named
from stage_jax.training.optimizer import make_optimizer
from stage_jax.training.state import init_state, make_train_step, split_params
from stage_jax.training.tasks import Task, make_task
from stage_jax.training.tasks.lora import FROZEN
from stage_jax.training.train import train
from stage_jax.weights.folder import read_manifest, read_part
from tests.generate import videos
from tests.training import sizes

FRAMES = 17
NONE = Path("none")
FORMS = {"t2v": "t2v", "i2v": "i2v-clip", "flf2v": "flf2v-clip", "ti2v": "ti2v"}  # of tests.generate.videos


@pytest.fixture(autouse=True)
def forms() -> None:
    for form, sizes_ in videos.FORMS.items():
        zoo.DITS[f"test-{form}"] = dataclasses.replace(sizes_, scan_layers=True)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("clips") / "records"
    write_toy_records(out, {"train": 1, "validation": 1}, size=16)
    return out


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder that every form but TI2V-5B's can be trained with, of random weights."""
    return videos.write_wan(tmp_path_factory.mktemp("models"), "flf2v-clip")


def wan_config(form: str, clips: Path, encoders: Path, steps: int = 2, **changes: Any) -> ConfigDict:
    config = sizes.common(steps) | {
        "name": form, "task": form, "model": f"test-{FORMS[form]}", "encoders": str(encoders), "shift": 3.0,
        "caption_dropout": 0.0, "export_dtype": "bfloat16", "data": {"dir": str(clips), "batch": 4},
        "optimizer": sizes.OPTIMIZER | {"name": "adamw"},
    }  # fmt: skip
    return ConfigDict(config | changes)


@pytest.mark.parametrize("form", FORMS)
def test_a_fresh_model_predicts_nothing(form: str):
    """Wan's head starts at zero: the loss of every row is the mean square of noise - data, whatever is given beside it. The
    first latent frame of TI2V is no target. Compiled for that form, the others are traced."""
    channels = zoo.DITS[f"test-{FORMS[form]}"].out_channels
    task = make_task(wan_config(form, NONE, NONE))
    key = jax.random.key(1)
    batch = {"clip": jax.random.normal(key, (2, channels, 3, 2, 2), jnp.float16), "caption": jnp.ones((2, 5, 8), jnp.float16)}
    if form in ("i2v", "flf2v"):
        batch["condition"] = jnp.ones((2, 16, 3, 2, 2), jnp.float16)
        batch["image"] = jnp.ones((2, videos.ROWS * (1 + (form == "flf2v")), 6), jnp.float16)
    examples = task.draw(batch, key)
    data = batch["clip"].astype(jnp.float32)[:, :, form == "ti2v" :]
    expected = jnp.square(examples["noise"][:, 0] - data).mean((1, 2, 3, 4))
    assert task.work(batch).tokens == 2 * 3  # a token is 2x2 latent cells
    if form != "ti2v":
        assert jax.eval_shape(task.loss, task.init(key), examples)[0].shape == (2,)
        return
    losses, _ = jax.jit(task.loss)(task.init(key), examples)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["i2v", "flf2v"])
def test_a_lora_of_a_form_with_pictures_learns_from_them(form: str, tmp_path: Path):
    """At the start the loss is the base's; then the adapters of the image branch are moved too, and nothing but adapters."""
    start, rng = videos.write_wan(tmp_path / form, FORMS[form]), np.random.default_rng(0)
    lora = {"rank": 2, "alpha": 2.0, "base": "float32", "pattern": r".*(query|(key|value)_image|ffn\.up)"}
    task = make_task(wan_config(form, NONE, start, init=str(start), lora=lora))
    trained, frozen = split_params(task.init(jax.random.key(0)), FROZEN)
    shapes = {"clip": (2, 16, 3, 2, 2), "condition": (2, 16, 3, 2, 2), "caption": (2, 5, 8)}
    shapes["image"] = (2, videos.ROWS * (1 + (form == "flf2v")), 6)
    batch = {name: jnp.asarray(rng.standard_normal(shape), jnp.float16) for name, shape in shapes.items()}
    examples = task.draw(batch, jax.random.key(1))

    @jax.jit
    def step(adapters: dict) -> tuple:
        return jax.value_and_grad(lambda moved: task.loss(frozen | moved, examples)[0].mean())(adapters)

    loss, slopes = step(trained)
    np.testing.assert_allclose(loss, task.base.loss(frozen, examples)[0].mean(), rtol=1e-5)
    moved = [path for path, slope in slopes.items() if path.endswith(".lora.b") and bool(jnp.any(slope))]
    assert len(moved) == len(trained) // 2 == 5, sorted(moved)  # the query of both attentions
    after = step({path: value - 0.05 * slopes[path] for path, value in trained.items()})[0]
    assert after < loss


@pytest.mark.slow
def test_batches_hold_what_the_form_reads(clips: Path, encoders: Path):
    """Held against the recipe's conditions and CLIP's features of the clips themselves."""
    record = open_records(clips, "validation")[0]
    pixels = jnp.asarray(record["clips"].reshape(-1, FRAMES, 16, 16, 3), jnp.float32) / 127.5 - 1
    sizes_, params = read_part(encoders, "vae", VAEConfig)
    vae = with_params(nnx.eval_shape(lambda: VAE(sizes_, nnx.Rngs(0))), params)
    expected = {
        "i2v": jax.jit(lambda x: i2v_condition(vae, x[:, 0], FRAMES))(pixels)[:, 4:],
        "flf2v": jax.jit(lambda x: flf2v_condition(vae, x[:, 0], x[:, -1], FRAMES))(pixels)[:, 4:],
    }
    clip_sizes, params = read_part(encoders, "clip", CLIPConfig)
    clip = with_params(nnx.eval_shape(lambda: CLIP(clip_sizes, nnx.Rngs(0))), params)
    look = jax.jit(lambda x: clip.vision(clip_pictures(x, clip_sizes.picture)))
    ends = look(pixels[:, np.array([0, -1])].reshape(-1, 16, 16, 3)).reshape(len(pixels), 2, -1, 6)
    image = {"i2v": ends[:, 0], "flf2v": ends.reshape(len(pixels), -1, 6)}
    latents = jax.jit(vae.encode)(pixels)
    for form in ("t2v", "i2v", "flf2v"):
        stream = make_task(wan_config(form, clips, encoders)).held_out("validation")
        batch = next(stream)
        stream.close()
        assert set(batch) == {"clip", "caption"} | ({"condition", "image"} if form != "t2v" else set())
        rows = [int(np.abs(latents - row).max((1, 2, 3, 4)).argmin()) for row in batch["clip"].astype(jnp.float32)]
        assert len(set(rows)) == 4
        np.testing.assert_allclose(batch["clip"], latents[np.array(rows)], atol=4e-3)
        if form != "t2v":
            np.testing.assert_allclose(batch["condition"], expected[form][np.array(rows)], atol=4e-3)
            np.testing.assert_allclose(batch["image"], image[form][np.array(rows)], atol=4e-3)
    zoo.DITS["test-wide"] = dataclasses.replace(videos.DIT, text_dim=16)
    with pytest.raises(InputError, match=r"captions of 512 rows of 8, image tokens of None; test-wide takes 16, 512 of 16"):
        make_task(wan_config("t2v", clips, encoders, model="test-wide")).held_out("validation")


@pytest.mark.slow
def test_flf2v_trains_and_makes_a_model_for_videos(clips: Path, encoders: Path, tmp_path: Path):
    """In bfloat16, recomputed, in parts, from given weights; parameters stay float32."""
    config = wan_config(
        "flf2v", clips, encoders, init=str(encoders), dtype="bfloat16", remat=True, accumulate=2, density="logit_normal",
        sampling={"steps": 3, "shift": 4.0, "size": (16, 16), "frames": FRAMES},
        evaluate={"every": 2, "split": "validation", "batches": 1, "bands": 2},
    )  # fmt: skip
    said: list[str] = []
    state = train(config, tmp_path / "run", said.append)
    assert "tokens/s" in said[-1] and {array.dtype for array in state.params.values()} == {jnp.dtype("float32")}
    _, start = read_part(encoders, "dit", DiTConfig)
    moved = {name: float(jnp.abs(value - stack_params(start)[name]).max()) for name, value in state.params.items()}
    assert 0 < max(moved.values()) < 2.1 * config.optimizer.lr  # two steps of Adam from the given weights
    folder = tmp_path / "run" / "model"
    assert set(read_manifest(folder)["parts"]) == {"dit", "vae", "umt5", "clip"}
    opened = open_models(folder, "float32")
    assert (opened.sampling.steps, opened.size, opened.like) == (3, (16, 16), "wan2.1-flf2v-14b")
    written = nnx.merge(opened.models.dit.form, opened.models.dit.load())
    for name, value in flat_params(written).items():
        np.testing.assert_allclose(value, state.ema[name], rtol=8e-3, atol=1e-6, err_msg=name)  # bfloat16 in the files


@pytest.mark.slow
@pytest.mark.parametrize("form", ["t2v", "i2v"])
def test_every_form_trains(form: str, clips: Path, encoders: Path, tmp_path: Path):
    """The first loss of Wan's zero head is that of predicting nothing: 1 + the mean square of the latents; it falls."""
    said: list[str] = []
    state = train(wan_config(form, clips, encoders, 30, ema=None, log_every=10), tmp_path / "run", said.append)
    losses = [float(line.split("loss ")[1].split()[0]) for line in said[1:]]
    assert losses[-1] < losses[0] and int(state.skipped) == 0
    assert open_models(tmp_path / "run" / "model", "float32").models.dit.config == zoo.DITS[f"test-{FORMS[form]}"]


def test_two_experts_keep_to_their_sides():
    for expert, part, low, high in (("high", "dit", 0.875, 1.0), ("low", "dit_low", 0.0, 0.875)):
        config = wan_config("t2v", NONE, NONE, expert=expert, boundary=0.875)
        task = make_task(config)
        sigma = task.draw({"clip": jnp.zeros((64, 16, 1, 2, 2))}, jax.random.key(0))["sigma"]
        assert task.part == part and low <= float(sigma.min()) and float(sigma.max()) <= high + 1e-6
    with pytest.raises(InputError, match=r"config.boundary: not found, expected where the experts of test-t2v part"):
        make_task(wan_config("t2v", NONE, NONE, expert="high"))


@pytest.mark.parametrize(
    ("form", "changes", "message"),
    [
        ("t2v", {"model": "test-i2v"}, r"config.model: test-i2v has not the inputs of t2v, config.task"),
        ("i2v", {"model": "test-flf2v-clip"}, r"config.model: test-flf2v-clip has not the inputs of i2v"),
        ("flf2v", {"model": "test-t2v"}, r"config.model: test-t2v has not the inputs of flf2v"),
        ("t2v", {"expert": "middle"}, r"config.expert: found 'middle', expected high or low"),
        ("t2v", {"shift": 0}, r"config.shift: found 0, expected a number above 0"),
        ("t2v", {"density": "beta"}, r"config.density: found 'beta', expected uniform or logit_normal"),
    ],
)
def test_configs_that_cannot_be(form: str, changes: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        make_task(wan_config(form, NONE, NONE, **changes))


def test_weights_of_another_size_are_refused(encoders: Path):
    task = make_task(wan_config("t2v", NONE, NONE, init=str(encoders)))
    with pytest.raises(InputError, match=r"weights of another size: in_channels is 36, config.model has 16, image_dim is 6"):
        task.init(jax.random.key(0))


@pytest.mark.slow
def test_one_example_is_learned_by_heart():
    """What training asks for and what every solver follows are one: a model trained on one clip makes it of any noise."""
    # Twice as wide as a patch is: where a layer norm has no more values than a patch, the noise cannot pass it whole.
    sizes_ = dict(dim=128, ffn_dim=256, heads=4, layers=2, text_dim=8, text_len=4, freq_dim=32)
    zoo.DITS["test-heart"] = DiTConfig(**sizes_, scan_layers=False, gate_init=1.0)
    settings = sizes.common(600) | {
        "name": "heart", "task": "t2v", "model": "test-heart", "encoders": "none", "shift": 1.0, "caption_dropout": 0.0,
        "export_dtype": "float32", "data": {"dir": "none", "batch": 16},
    }  # fmt: skip
    task = make_task(ConfigDict(settings))
    clip = jax.random.normal(jax.random.key(5), (1, 16, 2, 4, 4))
    batch = {"clip": jnp.repeat(clip, 16, 0), "caption": jnp.ones((16, 4, 8))}
    params = learned(task, ConfigDict(settings), batch)
    dit = with_params(task.dit, params)
    noise = jax.random.normal(jax.random.key(6), clip.shape)
    for solver in ("euler", "unipc", "dpm++"):
        sample = jax.jit(lambda x, s: denoise(lambda x, t: dit(t2v_sequence(x, t, batch["caption"][:1])).outputs[0], x, s))
        found = sample(noise, solver_named(solver, 20, 1.0))
        error = float(jnp.square(found - clip).mean())
        assert 10 * np.log10(float(clip.max() - clip.min()) ** 2 / error) >= 35, solver


def test_ti2v_learns_the_frames_after_the_given_one():
    """On one clip, which is of variance 1 as the noise is: knowing the clip takes half of the first loss away."""
    config = wan_config("ti2v", NONE, NONE, 60)
    task = make_task(config)
    clip = jax.random.normal(jax.random.key(5), (1, task.sizes.out_channels, 3, 2, 2))
    batch = {"clip": jnp.repeat(clip, 8, 0), "caption": jnp.ones((8, 5, 8))}
    examples, loss = task.draw(batch, jax.random.key(6)), jax.jit(task.loss)
    first, last = (float(loss(p, examples)[0].mean()) for p in (task.init(jax.random.key(0)), learned(task, config, batch)))
    assert 1.8 < first < 2.2 and last < 0.7 * first


def learned(task: Task, config: ConfigDict, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """The average of the weights after all steps on one batch."""
    config.optimizer.lr = 1e-2
    params = task.init(jax.random.key(0))
    optimizer = make_optimizer(config.optimizer, config.steps, params)
    step = jax.jit(make_train_step(task, optimizer, seed=0, ema=0.98), donate_argnums=0)
    state = init_state(params, optimizer)
    for _ in range(config.steps):
        state, _ = step(state, {}, batch)
    return state.ema
