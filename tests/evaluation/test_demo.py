"""The demo's shares, from samplers that are exactly known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import ClassVar

import numpy as np

from data_pipeline.toy_cinema.parse import toy_from_story
from data_pipeline.toy_cinema.scores import true_pairs
from stage_jax.evaluation.demo import demo_figures
from stage_jax.generate.models import Models
from stage_jax.generate.pairs import PairSampler
from stage_jax.recipes.step2_config import TINY
from stage_jax.story.readers import read_story
from tests.evaluation.oracles import bare, patch_codec, screenplay


class Known(PairSampler):
    """Draws the true pairs, of some seeds with the first shot's pair in every shot but dark."""

    settings: ClassVar = {}

    def __call__(self, captions, memory, seeds, tokens=None, known=None):
        shot = self.count % len(self.pairs)
        latents = self.pairs[shot] * (self.count < len(self.pairs))
        object.__setattr__(self, "count", self.count + 1)
        return np.stack([latents])


def test_shares_by_seed_and_over_all(tmp_path):
    path, codec = screenplay(tmp_path), patch_codec()
    toy = toy_from_story(read_story(path))
    pairs = np.stack([np.asarray(codec.encode_stills(pair)) for pair in true_pairs(toy)])
    models = bare(Models, hashes={}, codec=codec, step2=SimpleNamespace(sampling={"size": (64, 64)}, recipe=TINY))
    figures, boards = demo_figures(models, bare(Known, pairs=pairs, count=0), path, [3, 4])
    found = {f.name: f for f in figures}
    np.testing.assert_array_equal(boards[0].shots[1].pair.end, true_pairs(toy)[1, 1])
    assert found["demo: seed 3: body colour and place"].value == 1 and found["demo: seed 3: place"].n == 4
    black = found["demo: seed 4: body colour and place"].value  # nothing but black: at most one of the two reads right
    assert black < 1
    whole = found["demo: all seeds: body colour and place"]
    assert whole.value == (1 + black) / 2 and whole.n == 8 and whole.stories == 2
