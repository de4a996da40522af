"""How relevant earlier frames are to a new shot: one score per frame, higher is more relevant.

CLIP embeddings need not be normalised. What the script alone tells ("story") is in `recipes.memory`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from stage_jax.recipes.step2_config import CLIP_RANKINGS, Ranking


@dataclass(frozen=True, eq=False)
class Evidence:
    """What can be compared of n earlier frames. pictures: their CLIP embeddings, text: that of the new shot's description;
    None where no ranking by CLIP asks for them. references: so many of the frames, the first ones, are reference pictures."""

    latents: Float[np.ndarray, "n c h w"]
    pictures: Float[np.ndarray, "n d"] | None = None
    text: Float[np.ndarray, " d"] | None = None
    references: int = 0


def similarity(frames: Float[np.ndarray, "n *rest"], to: Float[np.ndarray, "*rest"]) -> Float[np.ndarray, " n"]:
    """Cosines, in float64; 0 where either is all zeros."""
    one = np.asarray(to, np.float64).ravel()
    length, cosines = np.linalg.norm(one), np.zeros(len(frames))
    for i, frame in enumerate(frames):  # one by one: all of them in float64 would be twice the bank
        row = np.asarray(frame, np.float64).ravel()
        norm = np.linalg.norm(row) * length
        cosines[i] = row @ one / norm if norm > 0 else 0.0
    return cosines


def relevance_by(ranking: Ranking, evidence: Evidence) -> Float[np.ndarray, " n"] | None:
    """The scores of frames in the order of time, of which the last is the previous end frame, unless all are references; None
    for "story". For recency references are as old as each other. Before there is a previous end frame, nothing is like it: 0.

    ValueError if there are no embeddings for a ranking by CLIP."""
    n = len(evidence.latents)
    if ranking == "story" or not n:
        return None
    if ranking == "recency":
        return np.maximum(np.arange(n, dtype=np.float64) - evidence.references, -1)
    if ranking in CLIP_RANKINGS and (evidence.pictures is None or (ranking == "clip_text" and evidence.text is None)):
        raise ValueError(f"ranking {ranking!r}: found no CLIP embeddings, expected those of all earlier frames")
    if ranking == "clip_text":
        return similarity(evidence.pictures, evidence.text)
    if n == evidence.references:
        return np.zeros(n)
    seen = evidence.latents if ranking == "latent" else evidence.pictures
    return similarity(seen, seen[-1])
