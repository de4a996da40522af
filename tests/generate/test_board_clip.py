"""A board whose memory is ranked by CLIP, and whose model looks at the previous end frame, on models of random weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from stage_jax.errors import InputError
from stage_jax.generate.bank import Bank, stack_memory
from stage_jax.generate.board import draw_board
from stage_jax.generate.edits import Edits
from stage_jax.generate.models import load_models
from stage_jax.generate.pairs import PairSampler
from stage_jax.models.clip import CLIP, CLIPConfig
from stage_jax.models.clip_text import CLIPTextConfig
from stage_jax.models.dit import DiT
from stage_jax.models.stacking import flat_params
from stage_jax.story.board import Reference
from stage_jax.weights.folder import write_part
from tests.generate.models import SAMPLING, VOCABULARY, make_story, write_models
from tests.goldens import drawn
from tests.models.tokenizers import write_clip_words
from tests.training import sizes

TEXT = CLIPTextConfig(vocabulary=4 + len(VOCABULARY), dim=8, ffn_dim=8, heads=2, layers=1, positions=80)
CONFIG = CLIPConfig(dim=8, ffn_dim=8, heads=2, layers=2, picture=28, patch=14, projection=6, text=TEXT)
RECIPE = {"ranking": "clip_text", "image_tokens": True, "anchors": False, "packing": "release"}


@pytest.mark.slow
def test_clip_ranks_the_memory_and_shows_the_previous_end_frame(tmp_path: Path):
    folder = write_models(tmp_path / "model")
    sampling = SAMPLING | {"size": list(SAMPLING["size"]), "recipe": RECIPE}
    step2 = dataclasses.replace(sizes.STEP2, image_dim=8)
    for part, config, make, how in (("step2", step2, DiT, sampling), ("clip", CONFIG, CLIP, None)):
        model = drawn(nnx.eval_shape(lambda make=make, config=config: make(config, nnx.Rngs(0))))
        write_part(folder, part, config, jax.tree.map(jnp.asarray, flat_params(model)), sampling=how)
    with pytest.raises(InputError, match="expected the tokenizer of CLIP's text tower"):
        load_models(folder, fill=False)
    write_clip_words(folder / "clip_tokenizer", VOCABULARY)
    models = load_models(folder, fill=False)
    assert "clip" in models.hashes
    sampler = PairSampler(models.step2, models.captions)
    board = draw_board(models, make_story(), 5, sampler=sampler)
    assert board.shots[0].memory == () and board.shots[1].memory[0].why == "previous end frame"
    assert {entry.why for entry in board.shots[2].memory[1:]} <= {"shows tom", "ranked by clip text"}

    frames = np.stack([frame for shot in board.shots[:2] for frame in (shot.pair.start, shot.pair.end)])
    seen = models.clip.frames(frames)
    query = models.clip.texts([board.shots[2].shot.description])[0]
    cosines = seen @ query / (np.linalg.norm(seen, axis=1) * np.linalg.norm(query))
    ranked = sorted(range(3), key=lambda i: -cosines[i])[: len(board.shots[2].memory) - 1]
    names = [(board.shots[i // 2].name, ("start", "end")[i % 2]) for i in ranked]
    assert [(entry.shot, entry.which) for entry in board.shots[2].memory[1:]] == names

    # References are compared with the text as frames are, and stand before them only as the first of their character.
    given = [Reference("tom", n, picture) for n, picture in enumerate(frames[1:] // 2, 1)]
    other = draw_board(models, make_story(), 5, sampler=sampler, edits=Edits(references=given))
    last = other.shots[2]
    assert [(entry.shot, entry.number) for entry in last.memory[:2]] == [(board.shots[1].name, 0), ("", 1)]
    for entry in last.memory[1:]:
        seen = models.clip.frames(other.pictures()[entry.key][None])[0]
        cosine = seen @ query / (np.linalg.norm(seen) * np.linalg.norm(query))
        np.testing.assert_allclose(entry.score, cosine, rtol=1e-4)
    scores = [entry.score for entry in last.memory[2:]]
    assert scores == sorted(scores, reverse=True) and len(scores) >= 1

    # Another picture before it is another pair, although memory and text are the same.
    empty = stack_memory([Bank(make_story(), models.latent_shape(), models.step2.recipe)], [()])
    tokens = models.clip.no_tokens()[None], models.clip.tokens(frames[:1])
    one, other = (np.asarray(sampler(["mia walks left"], empty, [0], t)) for t in tokens)
    assert np.abs(one - other).max() > 1e-4 and sampler.programs() == 1
