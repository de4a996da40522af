"""`stage video`: every task from a model folder, its flags, and one line for all that does not fit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from stage_jax.cli import main as cli
from stage_jax.film.video import read_video
from stage_jax.weights.lora_write import write_lora_files
from tests.generate.videos import DIT, FORMS, write_wan
from tests.weights.loras import random_lora

SIZE, FRAMES = (16, 24), 5  # height, width
STEPS = ["--sample_steps", "2", "--sample_solver", "euler"]


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("wan")
    forms = {form: write_wan(folder / form, form) for form in FORMS}
    return forms | {"t2v-two": write_wan(folder / "t2v-two", "t2v", experts=2)}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two pictures in the proportions of the videos, and one in others."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for name, (height, width) in {"first": SIZE, "last": SIZE, "tall": (40, 20)}.items():
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(folder / f"{name}.png")
    return {name: str(folder / f"{name}.png") for name in ("first", "last", "tall")}


def video(model: Path, path: Path | str, *flags: str, frames: int = FRAMES, size: str = "24*16") -> int:
    common = ["--model", str(model), "--prompt", "a red bear walks", "--save_file", str(path), "--size", size]
    return cli.main(["video", *common, "--frame_num", str(frames), *STEPS, *flags])


def line(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("stage: ") and captured.err.count("\n") == 1
    return captured.err.removeprefix("stage: ").rstrip()


TASKS = [
    ("t2v-two", ["--task", "t2v-A14B", "--sample_guide_scale", "2.5,4"]),
    ("i2v", ["--task", "i2v-A14B", "--first_frame", "first", "--last_frame", "tall", "--offload_model", "False"]),
    ("i2v-clip", ["--task", "i2v-14B", "--image", "first"]),
    ("flf2v-clip", ["--task", "flf2v-14B", "--first_frame", "first", "--last_frame", "last"]),
    ("ti2v", ["--task", "ti2v-5B", "--image", "first"]),
]


@pytest.mark.parametrize(("model", "flags"), TASKS)
def test_tasks(models: dict[str, Path], pictures: dict[str, str], model: str, flags: list[str], tmp_path: Path, capsys):
    assert video(models[model], tmp_path / "a.mp4", *(pictures.get(flag, flag) for flag in flags)) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"{tmp_path / 'a.mp4'}: 5 frames of 24x16, euler, 2 steps, shift ")
    assert "steps: 2/2" in captured.err
    frames = np.stack(list(read_video(tmp_path / "a.mp4")))
    assert frames.shape == (FRAMES, *SIZE, 3) and frames.std() > 5
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_one_seed_is_one_video(models: dict[str, Path], tmp_path: Path):
    """The same bytes, whether parts are kept or not; another seed is another video."""
    runs = {"first": [], "again": ["--offload_model", "False"], "seed": ["--base_seed", "1"]}
    for name, flags in runs.items():
        assert video(models["t2v"], tmp_path / f"{name}.png", *flags, frames=1) == 0
    made = {name: (tmp_path / f"{name}.png").read_bytes() for name in runs}
    assert made["first"] == made["again"] != made["seed"]


@pytest.mark.slow
def test_loras(models: dict[str, Path], tmp_path: Path, capsys):
    """Several, on both experts, each with a weight: as if they were merged into the model; with weight 0 as if without."""
    loras = {name: write_lora(tmp_path / f"{name}.safetensors", seed) for seed, name in enumerate(("a", "b", "low"))}
    flags = [f"--lora={loras['a']}:0.7", f"--lora={loras['b']}", f"--lora_low={loras['low']}:-0.5"]
    merge = [flag.replace("--lora", "--merge") for flag in flags]
    assert cli.main(["export", str(models["t2v-two"]), str(tmp_path / "merged"), "--format", "original", *merge]) == 0
    for name, model, said in (
        ("with", models["t2v-two"], flags), ("merged", tmp_path / "merged", []), ("without", models["t2v-two"], []),
        ("zero", models["t2v-two"], [f"--lora={loras['a']}:0", f"--lora={loras['b']}:0", f"--lora_low={loras['low']}:0"]),
    ):  # fmt: skip
        assert video(model, tmp_path / f"{name}.png", *said, frames=1) == 0, capsys.readouterr().err
    found = {path.stem: np.asarray(Image.open(path)).astype(int) for path in tmp_path.glob("*.png")}
    assert np.abs(found["with"] - found["merged"]).max() <= 1 and np.abs(found["with"] - found["without"]).mean() > 2
    np.testing.assert_array_equal(found["zero"], found["without"])


def write_lora(path: Path, seed: int) -> Path:
    write_lora_files(path, {"dit": random_lora(DIT, seed)}, "comfy")
    return path


FIRST, BOTH = ["--image", "first"], ["--first_frame", "first", "--last_frame", "last"]


@pytest.mark.parametrize(
    ("layout", "model", "flags"),
    [
        ("original", "t2v-two", ["--task", "t2v-A14B"]),
        ("diffusers", "t2v-two", ["--task", "t2v-A14B"]),
        pytest.param("original", "i2v", FIRST, marks=pytest.mark.slow),
        pytest.param("diffusers", "i2v", FIRST, marks=pytest.mark.slow),
        ("original", "i2v", BOTH),
        ("diffusers", "i2v", BOTH),
        ("original", "flf2v-2.1", ["--task", "flf2v-14B", *BOTH]),
        ("diffusers", "i2v-2.1", ["--task", "i2v-14B", *FIRST]),
        pytest.param("original", "i2v-2.1", FIRST, marks=pytest.mark.slow),
        pytest.param("diffusers", "flf2v-2.1", BOTH, marks=pytest.mark.slow),
    ],
)
def test_torch_layouts(
    models: dict[str, Path], pictures: dict[str, str], layout: str, model: str, flags: list[str], tmp_path: Path, capsys
):
    """Wan's own folder and diffusers' folder give the frames that the model folder gives."""
    assert cli.main(["export", str(models[model]), str(tmp_path / "torch"), "--format", layout]) == 0
    flags = [pictures.get(flag, flag) for flag in flags]
    for name, source in {"ours": models[model], "theirs": tmp_path / "torch"}.items():
        assert video(source, tmp_path / f"{name}.mp4", *flags) == 0, capsys.readouterr().err
    assert (tmp_path / "ours.mp4").read_bytes() == (tmp_path / "theirs.mp4").read_bytes()


def test_stills(models: dict[str, Path], tmp_path: Path, capsys):
    """One frame as a picture (t2i), or a folder of them beside what is there."""
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "kept.txt").write_text("here")
    assert video(models["t2v"], tmp_path / "frames") == 0
    names = sorted(path.name for path in (tmp_path / "frames").iterdir())
    assert names == [*(f"frame_{i:04d}.png" for i in range(FRAMES)), "kept.txt"]
    assert Image.open(tmp_path / "frames" / names[0]).size == SIZE[::-1]
    capsys.readouterr()
    assert video(models["t2v"], tmp_path / "a.png", "--task", "t2i-14B", frames=1) == 0
    assert "a.png: 1 frame of 24x16, euler, 2 steps, shift 5, guidance 5\n" in capsys.readouterr().out
    assert Image.open(tmp_path / "a.png").size == SIZE[::-1]


def test_a_picture_gives_its_proportions(models: dict[str, Path], pictures: dict[str, str], tmp_path: Path, capsys):
    """A picture of 20x40 at the area of 24x16 pixels: 13.9 x 27.7, rounded down to tokens of 8."""
    assert video(models["i2v"], tmp_path / "a.mp4", "--image", pictures["tall"]) == 0
    assert "5 frames of 8x24," in capsys.readouterr().out


def test_what_the_model_says_of_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    """Steps, shift, guidance, size and frames of model.json; the name of the file says what is in it."""
    said = {"solver": "dpm++", "steps": 1, "shift": 2.5, "guidance": 1.0, "size": [16, 8], "frames": 5, "fps": 8}
    model = write_wan(tmp_path / "model", "t2v", **said)
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    assert cli.main(["video", "--model", str(model), "--prompt", "A bear, red!"]) == 0
    name = "t2v_8x16_A_bear_red_0.mp4"
    assert capsys.readouterr().out == f"{name}: 5 frames of 8x16, dpm++, 1 steps, shift 2.5, guidance 1\n"
    assert [path.name for path in Path().iterdir()] == [name]


FLAGS = [
    (["--frame_num", "4"], "number of frames: found 4, expected 1 + a multiple of 4; the nearest is 5"),
    (["--size", "20*16"], "size (W*H): found 20*16, expected multiples of 8 up to 8192; the nearest is 16*16"),
    (["--size", "20"], "argument --size: found '20', expected W*H, as in 832*480"),
    (["--image", "first"], "the model takes no pictures (text to video); found a first one"),
    (["--last_frame", "last"], "a last picture without a first one"),
    (["--image", "first", "--first_frame", "first"], "--image and --first_frame are the same"),
    (["--image", "nowhere.png"], "nowhere.png: not a picture that can be read"),
    (["--task", "i2v-14B"], "a model of the form of wan2.1-t2v-14b, the task is one of wan2.1-i2v-14b"),
    (["--task", "t2i-14B"], "--frame_num: found 5, expected 1 for t2i-14B"),
    (["--task", "t2v-2B"], "argument --task: invalid choice: 't2v-2B'"),
    (["--base_seed", "-1"], "argument --base_seed: found '-1', expected a whole number from 0"),
    (["--sample_guide_scale", "1,2,3"], "argument --sample_guide_scale: found '1,2,3', expected one number, or LOW,HIGH"),
    (["--sample_guide_scale", "much"], "argument --sample_guide_scale: found 'much'"),
    (["--lora", "nowhere.safetensors:0.5"], "nowhere.safetensors: not found, expected a LoRA of Wan's linears"),
    (["--lora_low", "taken"], "taken: not a safetensors file"),
    (["--sample_shift", "0"], "argument --sample_shift: found '0', expected a number above 0"),
    (["--sample_shift", "1e30"], "argument --sample_shift: found '1e30', expected a number from 0 to 10,000"),
    (["--sample_shift", "1e-30"], "shift: found 1e-30, with which 2 noise levels do not fall"),
    (["--sample_guide_scale", "1e39"], "found '1e39', expected a number from 0 to 10,000"),
    (["--save_file", ".mp4"], "'.mp4': no name for a video"),
    (["--save_file", ""], "'.': no name for a video"),
    (["--save_file", "frames"], "frames: frames of another video stand there"),
    (["--offload_model", "maybe"], "argument --offload_model: found 'maybe', expected True or False"),
    (["--ulysses_size", "8"], "--ulysses_size: not a flag of stage video: one device does the work here"),
    (["--t5_cpu"], "--t5_cpu: not a flag of stage video: the text encoder has left the device"),
    (["--convert_model_dtype"], "--convert_model_dtype: not a flag of stage video: say --dtype bfloat16"),
    (["--prompt_extend_model=x"], "--prompt_extend_model: not a flag of stage video: write the prompt out in full"),
    (["--src_video", "a.mp4"], "--src_video: not a flag of stage video: VACE is not among"),
    (["--speed", "9"], "unknown arguments: --speed 9"),
    (["--save_file", "a.gif"], "a.gif: expected .mp4, .png for one frame, or a folder"),
    (["--save_file", "a.png"], "a.png: one picture, but 5 frames"),
    (["--save_file", "nowhere/a.mp4"], "nowhere/a.mp4: its folder does not exist"),
    (["--save_file", "taken/deeper"], "is not a folder"),
]


@pytest.mark.parametrize(("flags", "expected"), FLAGS, ids=[" ".join(flags) for flags, _ in FLAGS])
def test_one_line(
    models: dict[str, Path], pictures: dict[str, str], flags: list[str], expected: str, tmp_path: Path, monkeypatch, capsys
):
    """What is wrong is said before any work, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    Path("taken").write_text("a file")
    Path("frames").mkdir()
    Path("frames", "frame_0007.png").write_text("of another video")
    assert video(models["t2v"], "a.mp4", *(pictures.get(flag, flag) for flag in flags)) == 2
    assert expected in line(capsys)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["frame_0007.png", "frames", "taken"]


PICTURES = [
    ("i2v", [], "the model makes videos of pictures: expected a first one"),
    ("i2v-clip", ["--image", "first", "--last_frame", "last"], "the model takes the first picture only"),
    ("flf2v-clip", ["--first_frame", "first"], "the model takes a last picture too"),
    ("ti2v", ["--image", "first", "--last_frame", "last"], "the model takes one picture, the first; found a last one"),
]


@pytest.mark.parametrize(("model", "flags", "expected"), PICTURES)
def test_pictures_that_the_model_does_not_take(
    models: dict[str, Path], pictures: dict[str, str], model: str, flags: list[str], expected: str, tmp_path: Path, capsys
):
    assert video(models[model], tmp_path / "a.mp4", *(pictures.get(flag, flag) for flag in flags)) == 2
    assert expected in line(capsys)
    assert not (tmp_path / "a.mp4").exists()


def test_one_frame_holds_no_two_pictures(models: dict[str, Path], pictures: dict[str, str], tmp_path: Path, capsys):
    flags = ["--image", pictures["first"], "--last_frame", pictures["last"]]
    assert video(models["i2v"], tmp_path / "a.mp4", *flags, frames=1) == 2
    assert "number of frames: found 1, expected at least 5 with the pictures that are given" in line(capsys)


@pytest.mark.slow
def test_the_shipped_model_needs_no_negative_prompt(pictures: dict[str, str], tmp_path: Path):
    """Its words are few, and Wan's negative prompt is not among them."""
    frames = ["--first_frame", pictures["first"], "--last_frame", pictures["last"], "--save_file", str(tmp_path / "a.mp4")]
    assert cli.main(["video", "--prompt", "Mia jumps at Elm Hill.", *frames, *STEPS]) == 0
    assert len(list(read_video(tmp_path / "a.mp4"))) == 17
