"""`stage parity`: what our models and samplers compute beside the goldens of the reference implementation.

Everything runs in float32 with the highest precision of products, and the weights come through the same tables as
checkpoints do.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float

from stage_jax.errors import InputError
from stage_jax.evaluation.golden_configs import clip_config, dit_config, umt5_config, vae_config
from stage_jax.evaluation.goldens import TOLERANCE, Golden, draw_input, largest_difference, relative_error
from stage_jax.models.clip import CLIP
from stage_jax.models.dit import DiT, DiTConfig
from stage_jax.models.sequence import Segment, TokenSequence, grid_positions
from stage_jax.models.stacking import flat_params, with_params
from stage_jax.models.umt5 import UMT5Encoder
from stage_jax.models.vae import VAE
from stage_jax.sampling.denoise import begin, take_step
from stage_jax.sampling.named import solver_named
from stage_jax.weights.clip_table import clip_table
from stage_jax.weights.dit_table import DIT_TABLE
from stage_jax.weights.table import Table, from_torch
from stage_jax.weights.umt5_table import UMT5_TABLE
from stage_jax.weights.vae_table import vae_table

Arrays = Mapping[str, np.ndarray]
Pairs = dict[str, tuple[np.ndarray, np.ndarray]]  # what is compared -> (found, expected)
CLIP_TOKENS = 257  # of one picture: the class token and 16 x 16 patches
TOLERANCES = {"clip_vision": 5e-6}  # a LayerNorm's eps of 1e-6 instead of 1e-5 shows as 7e-6 there


@dataclasses.dataclass(frozen=True)
class Comparison:
    """largest: absolute difference. relative: to the largest reference value, the worst of all outputs of the golden."""

    name: str
    kind: str
    largest: float
    relative: float

    @property
    def passed(self) -> bool:
        return self.relative <= TOLERANCES.get(self.kind, TOLERANCE)


def compare(golden: Golden) -> Comparison:
    """How far we are from a golden. InputError for a kind that there is none of."""
    if golden.kind not in KINDS:
        raise InputError(f"{golden.name}: kind: found {golden.kind!r}, expected one of {', '.join(KINDS)}")
    try:
        with jax.default_matmul_precision("highest"):
            pairs = KINDS[golden.kind](golden)
        largest = max(largest_difference(found, expected) for found, expected in pairs.values())
    except KeyError as missing:
        raise InputError(f"{golden.name}: {missing} is not in this golden, a {golden.kind} needs it") from None
    except (TypeError, ValueError, IndexError, ZeroDivisionError) as error:
        raise InputError(f"{golden.name}: no {golden.kind} can be made of this golden ({error})") from None
    return Comparison(golden.name, golden.kind, largest, max(relative_error(*pair) for pair in pairs.values()))


def dit_pairs(golden: Golden) -> Pairs:
    """One forward pass of any Wan DiT."""
    config = dataclasses.replace(dit_config(golden), scan_layers=False)
    dit = _loaded(golden, DIT_TABLE, lambda: DiT(config, nnx.Rngs(0)))
    outputs = _run(dit, dit_sequence(golden, config)).outputs
    return {"out": (np.concatenate(outputs, axis=2), golden.io["out"])}


def dit_sequence(golden: Golden, config: DiTConfig) -> TokenSequence:
    """The golden's input. A timestep per token (Wan2.2) becomes a segment for every run of frames that share one."""
    io = golden.io
    latent = np.concatenate([io["x"], io["y"]], axis=1) if "y" in io else io["x"]
    batch, _, frames, height, width = latent.shape
    texts = [io[f"context_{i}"] for i in range(batch)]
    captions = np.zeros((batch, 1, config.text_len, config.text_dim), np.float32)
    for row, text in enumerate(texts):
        captions[row, 0, : len(text)] = text
    t = io["t"]
    by_frame = t.reshape(batch, frames, -1)[:, :, 0] if t.ndim == 2 else np.repeat(t[:, None], frames, axis=1)
    cuts = [0, *(np.flatnonzero((np.diff(by_frame, axis=1) != 0).any(axis=0)) + 1).tolist(), frames]
    segments = []
    for slot, (start, stop) in enumerate(itertools.pairwise(cuts)):
        positions = grid_positions(stop - start, height, width, config.kernels[0], times=np.arange(start, stop))
        segments.append(Segment(latent[:, :, start:stop], positions[None], t_slot=slot))
    return TokenSequence(tuple(segments), by_frame[:, cuts[:-1]], captions, image_tokens(golden, config, batch))


def image_tokens(golden: Golden, config: DiTConfig, batch: int) -> Float[np.ndarray, "b m e"] | None:
    """CLIP features as the golden draws them; of first and last frame they stand one after the other, as the model reads
    them."""
    if config.image_dim is None:
        return None
    rows, pictures = (CLIP_TOKENS, 1) if config.image_positions is None else (config.image_positions // 2, 2)
    features = draw_input("clip_fea", (batch * pictures, rows, config.image_dim), golden.seed)
    return features.reshape(batch, pictures * rows, config.image_dim)


def vae_pairs(golden: Golden) -> Pairs:
    """Latents of a clip and of its first frame alone, and the pictures of these latents, not clipped; the clip in chunks."""
    config, io = vae_config(golden), golden.io
    vae = _loaded(golden, vae_table(config), lambda: VAE(config, nnx.Rngs(0)))
    graphdef, state = nnx.split(vae)

    @jax.jit
    def both(state, video, latent):
        vae = nnx.merge(graphdef, state)
        return vae.encode(video), jnp.moveaxis(vae.decode(latent, finish=lambda x: x), -1, 1)

    pairs: Pairs = {}
    for end, frames in (("", None), ("_first", 1)):
        z, pictures = both(state, np.moveaxis(io["x"][:, :, :frames], 1, -1), io[f"z{end}"])
        pairs |= {f"z{end}": (np.asarray(z), io[f"z{end}"]), f"recon{end}": (np.asarray(pictures), io[f"recon{end}"])}
    return pairs


def umt5_pairs(golden: Golden) -> Pairs:
    """Embeddings of the tokens; what stands past a text is not compared."""
    config, io = dataclasses.replace(umt5_config(golden), scan_layers=False), golden.io
    encoder = _loaded(golden, UMT5_TABLE, lambda: UMT5Encoder(config, nnx.Rngs(0)))
    there = io["mask"] == 1
    return {"out": (np.asarray(_run(encoder, io["ids"], io["mask"]))[there], io["out"][there])}


def clip_pairs(golden: Golden) -> Pairs:
    """Image tokens of the vision tower. The golden's names lack the prefix that they have beside a text tower."""
    config, io = dataclasses.replace(clip_config(golden), scan_layers=False), golden.io
    golden = dataclasses.replace(golden, weights={f"visual.{name}": array for name, array in golden.weights.items()})
    clip = _loaded(golden, clip_table(config), lambda: CLIP(config, nnx.Rngs(0)))
    return {"out": (np.asarray(_run(clip.vision, np.moveaxis(io["x"], 1, -1))), io["out"])}


def sampler_pairs(golden: Golden) -> Pairs:
    """Every state of every trajectory, and the levels and timesteps that led to them. A case is named SOLVER_STEPS_SHIFT."""
    io = golden.io
    mixing = jnp.asarray(io["A"])

    def velocity(x, t):
        turned = jnp.einsum("ij,bjfhw->bifhw", mixing, jnp.tanh(x))
        return turned + 0.5 * jnp.cos(3 * t / 1000).reshape(-1, 1, 1, 1, 1) * x

    pairs: Pairs = {}
    for case in golden.cases:
        name, steps, shift = case.rsplit("_", 2)
        solver = solver_named({"dpmpp": "dpm++"}.get(name, name), int(steps), float(shift))
        step = jax.jit(lambda at, solver: take_step(velocity, at, solver))
        at, states = begin(io["x_init"]), []
        for _ in range(solver.steps):
            at = step(at, solver)
            states.append(np.asarray(at.latent))
        pairs[f"{case}_traj"] = (np.stack(states), io[f"{case}_traj"])
        pairs[f"{case}_timesteps"] = (solver.timesteps, io[f"{case}_timesteps"])
        pairs[f"{case}_sigmas"] = (solver.sigmas, io[f"{case}_sigmas"][:-1])
    return pairs


KINDS: dict[str, Callable[[Golden], Pairs]] = {
    "dit": dit_pairs,
    "vae": vae_pairs,
    "vae22": vae_pairs,
    "umt5": umt5_pairs,
    "clip_vision": clip_pairs,
    "samplers": sampler_pairs,
}


def _loaded(golden: Golden, table: Table, make: Callable[[], nnx.Module]) -> nnx.Module:
    abstract = nnx.eval_shape(make)
    return with_params(abstract, from_torch(golden.weights, table, flat_params(abstract), golden.name))


def _run(model: nnx.Module, *inputs):
    graphdef, state = nnx.split(model)
    return jax.jit(lambda state, *inputs: nnx.merge(graphdef, state)(*inputs))(state, *inputs)
