"""Transitions by TransNet V2, when its weights are given."""

from __future__ import annotations

import functools
import itertools
from collections import deque
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float32, UInt8

from data_pipeline.ingest.transitions import Transition
from stage_jax.models.transnet import HEIGHT, WIDTH, TransNet
from stage_jax.weights.transnet_table import load_transnet

# Frames the network sees at once and those of them that are taken, in the middle, as its authors do.
SEEN, TAKEN = 100, 50
EDGE = (SEEN - TAKEN) // 2
LIKELY = 0.5  # probability from which a frame belongs to a transition


@functools.lru_cache(maxsize=1)
def neural_network(path: Path) -> TransNet:
    """The network of a file of weights, read once for all films."""
    return load_transnet(path)


class NeuralTransitions:
    """Fed frame by frame like `transitions.Transitions`. Before the first frame and after the last stand copies of them."""

    delay = SEEN + TAKEN

    def __init__(self, model: TransNet) -> None:
        self._model = model
        self._frames: deque[np.ndarray] = deque(maxlen=SEEN)
        self._count = self._told = 0
        self._began: int | None = None  # the first frame of the transition that is going on

    def push(self, small: UInt8[np.ndarray, "height width 3"]) -> list[Transition]:
        tiny = cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        if not self._count:
            self._frames.extend([tiny] * EDGE)
        self._frames.append(tiny)
        self._count += 1
        return self._predicted() if self._count >= self._told + TAKEN + EDGE else []

    def close(self) -> list[Transition]:
        """What is left at the end of the film. A transition that the film ends with is none."""
        found, end = [], self._count
        while self._told < end:
            self._frames.extend([self._frames[-1]] * (self._told + TAKEN + EDGE - self._count))
            self._count = self._told + TAKEN + EDGE
            found += self._predicted()
        return [transition for transition in found if transition.first < end]

    def _predicted(self) -> list[Transition]:
        """Of the next frames to tell, which are the middle of those that are held."""
        likely = _probabilities(self._model, np.stack(self._frames))[EDGE : EDGE + TAKEN] > LIKELY
        found = []
        for index, there in zip(itertools.count(self._told), likely, strict=False):
            if there and self._began is None:
                self._began = index
            elif not there and self._began is not None:
                found.append(_transition(self._began, index - 1))
                self._began = None
        self._told += TAKEN
        return found


def _transition(first: int, last: int) -> Transition:
    """The network marks the last frame before a cut, and all that it sees as mixed; a shot is clear before and after them."""
    kind = "cut" if last - first < 2 else "dissolve"
    return Transition(max(first - (kind != "cut"), 0), (first + last) // 2 + 1, last + 1, kind)


def _probabilities(model: TransNet, frames: UInt8[np.ndarray, "t 27 48 3"]) -> Float32[np.ndarray, " t"]:
    return np.asarray(_run(*nnx.split(model), jnp.asarray(frames)[None]))[0]


@functools.partial(jax.jit, static_argnums=0)
def _run(graph, state, frames):
    return jax.nn.sigmoid(nnx.merge(graph, state)(frames)[0])
