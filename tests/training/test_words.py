"""Words of the records that a text encoder does not have: rows of their own, which nothing else feels."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from data_pipeline.records import FIELDS, LATER, Example, Shape, open_records, write_records
from data_pipeline.toy_cinema.captions import vocabulary
from stage_jax.errors import InputError
from stage_jax.models.dit import DiTConfig
from stage_jax.models.stacking import with_params
from stage_jax.models.umt5 import UMT5Config, zero_padding
from stage_jax.training.tasks import make_task
from stage_jax.training.tasks.step2 import TABLE, TEXT, STEP2Task, part_of
from stage_jax.training.tasks.step2_start import with_words
from stage_jax.training.train import train
from stage_jax.weights.folder import part_config, read_part
from tests.training import sizes
from tests.training.step2_folders import write_sft

NEW = ("zebra", "brook")
KNOWN = "Wide shot. A tree stands on grass."


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, records: Path) -> Path:
    """The toy records with a caption of two new words for every shot of the training split, and one of its own in another."""
    out = tmp_path_factory.mktemp("told") / "records"
    source = open_records(records, "train")
    shape = Shape(**{field.name: source.metadata[field.name] for field in dataclasses.fields(Shape)})

    def examples(caption: str) -> list[Example]:
        found = []
        for record in source:
            story = json.loads(record["story"])
            for scene in story["scenes"]:
                for shot in scene["shots"]:
                    shot["description"] = caption
            found.append(Example(**{name: record[name] for name in FIELDS if name not in LATER} | {"story": json.dumps(story)}))
        return found

    splits = {"train": examples("A Zebra walks by the brook."), "test": examples("A gnu walks here.")}
    write_records(out, splits, shape, {"made_by": "test"})
    return out


@pytest.fixture(scope="module")
def sft(tmp_path_factory: pytest.TempPathFactory, vae_folder: Path) -> Path:
    sizes.small_zoo()
    return write_sft(tmp_path_factory.mktemp("sft") / "model", vae_folder)


def config_of(records: Path, sft: Path, steps: int = 1, **changes: Any) -> ConfigDict:
    return ConfigDict(sizes.step2_config(records, sft, steps) | {"init": str(sft)} | changes)


def embedded(task: STEP2Task, params: dict, text: str) -> np.ndarray:
    ids, mask = task.tokenizer.encode([text])
    encoder = with_params(task.text, part_of(params, TEXT))
    return np.asarray(jax.jit(lambda ids, mask: zero_padding(encoder(ids, mask), mask))(ids, mask)[0])


def test_known_captions_are_embedded_as_before_and_new_words_are_told_apart(told: Path, sft: Path):
    before, after = make_task(config_of(told, sft)), make_task(config_of(told, sft, words="records"))
    assert before.tokenizer.vocabulary == vocabulary()[2:]
    assert after.tokenizer.vocabulary == (*vocabulary()[2:], *NEW)  # none of another split
    start, grown = (task.init(jax.random.key(0)) for task in (before, after))
    assert grown[TEXT + TABLE].shape[0] == start[TEXT + TABLE].shape[0] + 2
    np.testing.assert_array_equal(embedded(after, grown, KNOWN), embedded(before, start, KNOWN))
    for name in start.keys() - {TEXT + TABLE}:
        np.testing.assert_array_equal(grown[name], start[name])
    seen = [embedded(after, grown, f"a {word} stands on grass") for word in ("tree", *NEW)]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(seen[one] - seen[other]).max() > 1e-2
    other_key = after.init(jax.random.key(1))[TEXT + TABLE]
    assert np.abs(other_key[-2:] - grown[TEXT + TABLE][-2:]).max() > 0


def test_new_rows_are_as_large_as_the_others(told: Path, sft: Path):
    """Of many new words: the mean and the deviation of the rows, channel by channel."""
    table = jax.random.normal(jax.random.key(0), (200, 4)) * np.array([1.0, 2.0, 0.1, 1.0]) + np.array([0.0, 0.0, 3.0, -5.0])
    grown = np.asarray(with_words(table, 2200, jax.random.key(1)))
    np.testing.assert_array_equal(grown[:200], table)
    np.testing.assert_allclose(grown[200:].mean(0), table.mean(0), atol=0.2)
    np.testing.assert_allclose(grown[200:].std(0), table.std(0), rtol=0.1)


def test_a_run_learns_them_and_leaves_both(tmp_path: Path, told: Path, sft: Path):
    """The model folder has the words and their rows, which are no longer those of the start; so has a run that goes on."""
    config = config_of(told, sft, 2, words="records")
    start = make_task(config).init(jax.random.key(config.seed))[TEXT + TABLE]
    train(config, tmp_path / "run", lambda line: None)
    model = tmp_path / "run" / "model"
    text, params = read_part(model, "umt5", UMT5Config)
    assert params[TABLE].shape == start.shape and text.vocabulary == len(start)
    assert np.abs(params[TABLE][-2:] - start[-2:]).min() > 0
    task = make_task(config_of(told, model))
    assert task.tokenizer.vocabulary[-2:] == NEW
    np.testing.assert_array_equal(task.init(jax.random.key(9))[TEXT + TABLE], params[TABLE])


def test_without_a_model_they_are_the_records_alone(told: Path, vae_folder: Path):
    task = make_task(ConfigDict(sizes.step2_config(told, vae_folder, 1) | {"words": "records"}))
    assert task.tokenizer.vocabulary == ("a", "zebra", "walks", "by", "the", "brook", ".")


def test_captions_are_as_long_as_those_of_the_start_or_as_asked(told: Path, sft: Path):
    of_start, longer = make_task(config_of(told, sft)), make_task(config_of(told, sft, text_len=99))
    assert of_start.tokenizer.length == of_start.sizes.text_len == part_config(sft, "step2", DiTConfig).text_len
    assert longer.tokenizer.length == longer.sizes.text_len == 99
    assert longer.tokenizer.vocabulary == of_start.tokenizer.vocabulary


def test_what_cannot_learn_them_is_refused(told: Path, sft: Path):
    with pytest.raises(InputError, match=r"config.frozen: found '\^umt5', expected a pattern that is not found in umt5.t"):
        make_task(config_of(told, sft, words="records", frozen="^umt5"))
    with pytest.raises(InputError, match="config.words: found 'records' without config.text_encoder, expected one"):
        make_task(config_of(told, sft, words="records", text_encoder=None))
    with pytest.raises(InputError, match="config.words: found 'all', expected easy, full or records"):
        make_task(config_of(told, sft, words="all"))
    with pytest.raises(InputError, match="words that the model does not know: zebra; brook"):
        make_task(config_of(told, sft)).batches()
    make_task(config_of(told, sft, words="records", frozen="^dit.blocks"))
