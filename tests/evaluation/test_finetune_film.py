"""Fine-tuning on a film's shots but the last, in a few steps: what the parts leave, what they have not seen, going on."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from data_pipeline.records import open_records, open_splits
from stage_jax.evaluation.psnr import psnr
from stage_jax.generate.models import load_models
from stage_jax.models.tokenizer import WordTokenizer
from stage_jax.story.pictures import fit_picture
from stage_jax.story.readers import read_story
from stage_jax.weights.folder import part_hashes
from tests.tools import load_tool

ROOT = Path(__file__).resolve().parents[2]
ASSETS, FILM = ROOT / "stage_jax" / "assets", ROOT / "tests" / "data" / "big_buck_bunny_160x90.mp4"
TRAININGS = ("vae", "step2", "filler")


@pytest.fixture(scope="module")
def program():
    return load_tool("finetune_film")


def test_the_last_caption_is_told_in_words_of_the_others():
    """All of them, so that the model has read each; and every caption is read whole."""
    captions = [shot.description for _, shot in read_story(ASSETS / "bunny.json").shots()]
    shipped = WordTokenizer.load(ASSETS / "tiny" / "tokenizer")
    of_others = WordTokenizer((), shipped.length).grown(captions[:-1])
    assert len(captions) == 4 and not of_others.unknown(captions[-1:])
    assert all(of_others.count(caption) <= shipped.longest for caption in captions)
    assert shipped.unknown(captions[-1:])  # some of them are new


@pytest.fixture
def hasty_compiler() -> Iterator[None]:
    """Programs of a few steps do not earn back what XLA's optimiser costs, in the slow tests neither."""
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.mark.slow
def test_the_whole_chain_and_again(program, tmp_path: Path, capsys, hasty_compiler: None):
    out = tmp_path / "film"
    command = [str(FILM), "--out", str(out), "--smoke"]
    assert program.main(command) == 0
    said = capsys.readouterr().out
    assert re.search(r"^part 1 of 6, shots: 0 min passed, about \d+ left on an idle processor$", said, re.MULTILINE)
    assert "part 6 of 6, figures: " in said

    # What is trained on: three shots, of which no picture is one of the last shot's, and no word of its caption's
    last = read_story(ASSETS / "bunny.json").scenes[-1].shots[-1]
    names = ("start", "interior1", "interior2", "end")
    pictures = [np.asarray(Image.open(out / "shots" / f"SC01_{last.id}_{name}.png")) for name in names]
    assert list(open_splits(out / "records")) == ["train"]
    for record in open_records(out / "records", "train"):
        assert record["shots"] == 3 and last.description not in record["story"] and last.id not in record["story"]
        for frames in (record["clips"], record["frames"]):
            for picture in pictures:
                true = np.stack([fit_picture(picture, frames.shape[1:3])] * len(frames))
                assert psnr(frames, true).max() < 20
    for part in TRAININGS:
        config = json.loads((out / part / "config.json").read_text())
        assert config["data"]["dir"] == str(out / "records") and config["init"] == str(ASSETS / "tiny")
        assert "evaluate" not in config and "boards" not in config

    # What is left: every part changed, new words behind the old ones, a model folder that draws and fills
    tuned, shipped = out / "filler" / "model", ASSETS / "tiny"
    new, old = part_hashes(tuned), part_hashes(shipped)
    assert new.keys() == old.keys() and all(new[part] != old[part] for part in new)
    words, known = (WordTokenizer.load(folder / "tokenizer").vocabulary for folder in (tuned, shipped))
    assert words[: len(known)] == known and "brook" in words[len(known) :]
    models = load_models(tuned)
    assert models.captions.encoder.config.vocabulary == len(words) + 2
    content = json.loads((out / "figures.json").read_text())
    assert content["weights"] == {"shipped": old, "tuned": new}
    ways = {figure["what"] for figure in content["figures"] if figure["part"] == "pair"}
    assert {"drawn, memory", "drawn, no memory", "copy of the last frame", "mean picture of the shots before"} < ways
    assert all(np.isfinite(figure["value"]) for figure in content["figures"])
    table = (out / "figures.md").read_text()
    assert "The pair of SC01_SH040, not seen in training:" in table and "The pair of SC01_SH010, seen in training:" in table
    for name in ("next_shot", "clips"):
        with Image.open(out / f"{name}.png") as picture:
            assert picture.width > 400

    # Again: nothing is trained, and what is left is the same, though some of it was gone
    shutil.rmtree(tuned)
    assert program.main(command) == 0
    assert part_hashes(tuned) == new and json.loads((out / "figures.json").read_text()) == content
    assert capsys.readouterr().out.count("steps 4 to 4\n") == 3

    # Another story, another model, a real run: refused, in one line, and nothing is changed
    other = tmp_path / "bunny.json"
    other.write_text((ASSETS / "bunny.json").read_text().replace("brook", "river"))
    for change, what in ((["--story", str(other)], "story"), (["--model", str(tuned)], "model")):
        assert program.main([*command, *change]) == 2
        error = capsys.readouterr().err
        assert error == f"finetune_film: {out}: was begun with another {what}, expected the same one or a new folder\n"
    assert program.main(command[:-1]) == 2 and "was begun with another size," in capsys.readouterr().err


def test_what_is_wrong_is_one_line(program, tmp_path: Path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    (tmp_path / "short.json").write_text(
        json.dumps({"title": "x", "scenes": [{"id": "SC01", "shots": [{"id": "SH010", "description": "A hill."}]}]})
    )
    new = str(tmp_path / "new")
    cases = {
        "full: found something there already, expected a new or empty folder": [str(FILM), "--out", str(tmp_path / "full")],
        "none.mp4: cannot be read": [str(tmp_path / "none.mp4"), "--out", new],
        "short.json: found 1 shot, expected 2 or more": [str(FILM), "--out", new, "--story", str(tmp_path / "short.json")],
        "model.json: not found": [str(FILM), "--out", new, "--model", str(tmp_path)],
    }
    for message, arguments in cases.items():
        assert program.main(arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith("finetune_film: ") and message in error and error.count("\n") == 1
    assert not (tmp_path / "new").exists() and [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]
