"""The figure of swapped pairs, from fillers that believe the pair, and the caption."""

from __future__ import annotations

import numpy as np
import pytest

from stage_jax.errors import InputError
from stage_jax.evaluation.swapped import swapped_figure
from tests.evaluation.oracles import patch_codec, story


@pytest.mark.slow
def test_pictures_are_believed_or_captions_are():
    """One shot of each of two stories: clips of the pair's shot are all right, clips of the caption's shot are not."""
    stories = [story(seed, clips=True).first(1) for seed in (1, 2)]
    clips = {held.shots[0][1].description: held.clips[0] for held in stories}
    by_pair = {held.pairs[0].tobytes(): held.clips[0] for held in stories}

    def believes_pairs(pairs, captions, seeds):
        assert len(pairs) == len(captions) == len(seeds) == 2
        for pair, caption in zip(pairs, captions, strict=True):
            assert not np.array_equal(clips[caption][0], pair.start)
        return np.stack([by_pair[np.stack([pair.start, pair.end]).tobytes()] for pair in pairs])

    found = swapped_figure(believes_pairs, patch_codec(), stories, batch=2)
    assert (found.name, found.value, found.ceiling) == ("filler: another shot's pair: its identity", 1.0, 1.0)
    assert (found.n, found.stories) == (2 * 15, 2)

    def believes_captions(pairs, captions, seeds):
        return np.stack([clips[caption] for caption in captions])

    other = swapped_figure(believes_captions, patch_codec(), stories, batch=2)
    assert other.value < 0.3
    with pytest.raises(InputError, match="expected two or more stories, with clips"):
        swapped_figure(believes_pairs, patch_codec(), stories[:1])
