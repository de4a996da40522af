"""The `stage` command: what it calls, and the one line that everything wrong ends in."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

import stage_jax
from stage_jax.cli import main as cli
from stage_jax.errors import InputError
from stage_jax.film.by_model import refine_by_model
from stage_jax.film.choices import Choices
from stage_jax.progress import Progress
from stage_jax.story.refiner import refine_by_rules

FILM = Path(__file__).parents[1] / "data" / "big_buck_bunny_160x90.mp4"


def stub(monkeypatch: pytest.MonkeyPatch, module: str, function: str, effect: Any = None) -> list[tuple]:
    """Puts a stand-in where a verb imports its function from; what it was called with ends in the list."""
    calls: list[tuple] = []

    def call(*args: Any, **kwargs: Any) -> None:
        calls.append((args, kwargs))
        if effect is not None:
            raise effect

    fake = types.ModuleType(module)
    setattr(fake, function, call)
    monkeypatch.setitem(sys.modules, module, fake)
    return calls


def line(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that went to stderr, without "stage: "."""
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("stage: ") and captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    return captured.err.removeprefix("stage: ").rstrip()


def test_film_calls_make_film(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = stub(monkeypatch, "stage_jax.film.make", "make_film")
    assert cli.main(["film", "a.fountain", "--out", "out"]) == 0
    flags = "--model m --step2 s --seed 7 --steps 5 --guidance 2.5 --landing 9"
    assert cli.main(["film", "a.json", "--out=o", *flags.split()]) == 0
    assert cli.main(["film", "a.json", "--out=o", "--pairs", "p"]) == 0
    assert [args[:-1] for args, _ in calls] == [(Path("a.fountain"), Path("out")), *[(Path("a.json"), Path("o"))] * 2]
    assert all(options.pop("choices") == Choices() for _, options in calls)
    optional = ("model", "step2", "pairs", "seed", "steps", "guidance", "landing", "refine")
    assert [options for _, options in calls] == [
        dict(zip(optional, (None, None, None, 0, None, None, None, None), strict=True)),
        dict(zip(optional, (Path("m"), Path("s"), None, 7, 5, 2.5, 9, None), strict=True)),
        dict(zip(optional, (None, None, Path("p"), 0, None, None, None, None), strict=True)),
    ]
    for flags, expected in (("rules", refine_by_rules), ("http://h/v1 --llm eye", None)):
        assert cli.main(["film", "a.json", "--out=o", "--refine", *flags.split()]) == 0
        refine = calls[-1][1]["refine"]
        assert refine is expected or (refine.func is refine_by_model and refine.keywords["model"].model == "eye")
    assert all(isinstance(args[-1], Progress) for args, _ in calls)


WRONG = [
    ([], "the following arguments are required: VERB"),
    (["fil"], "invalid choice: 'fil'"),
    (["film"], "required: STORY, --out (see stage film --help)"),
    (["film", "a.json", "--out", "o", "--seed", "-1"], "argument --seed: found '-1', expected a whole number from 0"),
    (["film", "a.json", "--out", "o", "--seed", "1.5"], "argument --seed: found '1.5'"),
    (["film", "a.json", "--out", "o", "--seed", str(2**32)], "argument --seed: found"),
    (["film", "a.json", "--out", "o", "--steps", "0"], "argument --steps: found '0', expected a whole number from 1"),
    (["film", "a.json", "--out", "o", "--landing", "-1"], "argument --landing: found '-1', expected a whole number from 0"),
    (["film", "a.json", "--out", "o", "--guidance", "nan"], "argument --guidance: found 'nan', expected a number"),
    (["film", "a.json", "--out", "o", "--pairs", "p", "--guidance", "3"], "--guidance: found with --pairs"),
    (["film", "a.json", "--out", "o", "--guid", "3"], "unknown arguments: --guid 3"),
    (["film", "a.json", "--out", "o", "--refine", "rule"], "--llm: found none, expected what rule calls the model"),
    (["film", "a.json", "--out", "o", "--llm", "m"], "--llm, --key-env: found without an endpoint, expected with --refine URL"),
    (["film", "a.json", "b.json", "--out", "o"], "unknown arguments: b.json"),
    (["data", "toy", "--out", "o", "--config.a=3"], "unknown arguments: --config.a=3"),
    (["data", "toy", "--out", "o", "--level", "hard"], "argument --level: invalid choice: 'hard'"),
    (["data"], "required: KIND"),
    (["data", "ingest", "nowhere.webm", "--out", "o"], "nowhere.webm: cannot be read (No such file or directory)"),
    (["train", "--workdir", "w"], "required: --config"),
    (["train", "--config", "nowhere.py", "--workdir", "w"], "nowhere.py: cannot be read"),
]


@pytest.mark.parametrize(("arguments", "expected"), WRONG, ids=[" ".join(arguments) for arguments, _ in WRONG])
def test_wrong_arguments(
    arguments: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    assert expected in line(capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("effect", "code", "expected"),
    [
        (InputError("story.json: a\n  b"), 2, "story.json: a b"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out/film.mp4"), 2, "out/film.mp4: No space left on device"),
        (OSError(errno.EROFS, os.strerror(errno.EROFS), b"out"), 2, "out: Read-only file system"),
        (OSError(errno.EACCES, os.strerror(errno.EACCES)), 2, "Permission denied"),
        (OSError("odd\nthing"), 2, "odd thing"),
        (OSError(), 2, "OSError"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_what_goes_wrong_inside(
    effect: BaseException, code: int, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    stub(monkeypatch, "stage_jax.film.make", "make_film", effect)
    assert cli.main(["film", "a.json", "--out", "o"]) == code
    assert line(capsys) == expected


def test_bugs_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    stub(monkeypatch, "stage_jax.film.make", "make_film", ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError, match="a bug"):
        cli.main(["film", "a.json", "--out", "o"])


def test_ingest_prints_the_shots(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["data", "ingest", str(FILM), "--out", str(tmp_path / "out")]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        "SC01_SH010  0-282  frames 50 and 280 taken",
        "SC01_SH020  283-375  frames 285 and 373 taken",
        "SC01_SH030  376-550  frames 378 and 548 taken",
        "SC01_SH040  551-719  frames 553 and 717 taken",
    ]
    assert "frames: 720/720" in captured.err and "pictures: 16/16" in captured.err.splitlines()[-1]


@pytest.mark.parametrize("level", ["easy", "full"])
def test_toy_records_are_written(tmp_path: Path, level: str) -> None:
    from data_pipeline.records import open_records

    flags = f"--level {level} --stories 2 --validation 1 --test 0 --seed 5 --no-clips --size 32"
    assert cli.main(["data", "toy", "--out", str(tmp_path / "toy"), *flags.split()]) == 0
    source = open_records(tmp_path / "toy", "train")
    assert len(source) == 2 and source[0]["frames"].shape[1:] == (32, 32, 3) and len(source[0]["clips"]) == 0
    assert len(open_records(tmp_path / "toy", "validation")) == 1 and source.metadata["about"]["level"] == level


def test_toy_records_do_not_go_over_others(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "mine").write_text("")
    assert cli.main(["data", "toy", "--out", str(tmp_path), "--stories", "1"]) == 2
    assert str(tmp_path) in line(capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.smoke
def test_help_and_version_load_nothing_heavy() -> None:
    code = (
        "import sys\nfrom stage_jax.cli.main import main\n"
        "try: main([sys.argv[1]])\nexcept SystemExit as end: assert end.code == 0\n"
        "print(sorted({'jax', 'flax', 'av', 'cv2', 'tensorflow_datasets', 'ml_collections'} & set(sys.modules)))"
    )
    for flag, expected in (("--help", "film"), ("--version", f"stage {stage_jax.__version__}")):
        done = subprocess.run([sys.executable, "-c", code, flag], capture_output=True, text=True, check=True)
        assert expected in done.stdout and done.stdout.splitlines()[-1] == "[]"
