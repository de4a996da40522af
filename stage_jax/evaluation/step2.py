"""What STEP2 draws, read back by the probe: with the true history, with memory off, and in its own rollout.

Only what a shot's caption does not tell counts ("recalled"), from the second shot on: that is what memory has to hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from data_pipeline.toy_cinema.scores import POSITION, Outcome
from stage_jax.evaluation.batches import mapped, row_batches
from stage_jax.evaluation.figures import Figure, mean_figure
from stage_jax.evaluation.held_out import HeldOut, Progress, shot_seed
from stage_jax.evaluation.history import History, examples, memory_of, no_memory
from stage_jax.evaluation.levels import EASY, Level, level_of
from stage_jax.evaluation.vae import STILLS, still_reconstructions
from stage_jax.generate.bank import Bank, stack_memory
from stage_jax.generate.models import PictureCodec
from stage_jax.recipes.step2 import Memory
from stage_jax.recipes.step2_config import TINY, STEP2Config
from stage_jax.recipes.step2_text import story_texts

BATCH = 50
Sampler = Callable[[Sequence[str], Memory, Sequence[int]], Float[Array, "n 2 c h w"] | Float[np.ndarray, "n 2 c h w"]]
Pictures = UInt8[np.ndarray, "_ 2 h w 3"]  # of the shots of one story
Outcomes = Mapping[int, Sequence[Outcome]]  # by the story's index


def draw_with_true_history(
    sampler: Sampler,
    codec: PictureCodec,
    histories: Sequence[History],
    *,
    memory: bool = True,
    seed: int = 0,
    batch: int = BATCH,
    progress: Callable[[int, int], None] | None = None,
) -> list[Pictures]:
    """The pairs of every story, each shot drawn beside the true frames before it, or with memory off; same noise in both."""
    shots = examples(histories)

    def draw(rows: list[int]) -> np.ndarray:
        chosen = [shots[row] for row in rows]
        seen = memory_of(histories, chosen)
        seen = seen if memory else no_memory(seen)
        captions = [histories[s].caption(i) for s, i in chosen]
        seeds = [shot_seed(seed, histories[s].held.index, i) for s, i in chosen]
        return np.asarray(sampler(captions, seen, seeds))

    pictures = decode_pairs(codec, mapped(draw, len(shots), batch, progress))
    return np.split(pictures, np.cumsum([len(history.packs) for history in histories])[:-1])


def roll_out(
    sampler: Sampler,
    codec: PictureCodec,
    stories: Sequence[HeldOut],
    latent_shape: tuple[int, int, int],
    *,
    seed: int = 0,
    batch: int = BATCH,
    recipe: STEP2Config = TINY,
    progress: Callable[[int, int], None] | None = None,
) -> list[Pictures]:
    """The pairs of stories of equal length, in lockstep; each remembers what it drew itself, as a board does.

    ValueError if the lengths differ."""
    lengths = {len(held.shots) for held in stories}
    if len(lengths) != 1:
        raise ValueError(f"rollout: found stories of {sorted(lengths)} shots, expected one length")
    count, latents = lengths.pop(), []
    groups = row_batches(len(stories), batch)
    for number, (rows, used) in enumerate(groups):
        group = [stories[row] for row in rows]
        banks = [Bank(held.story, latent_shape, recipe) for held in group]
        texts = [story_texts(held.story, recipe) for held in group]
        for i in range(count):
            shots = [held.shots[i] for held in group]
            packs = [bank.pack(*shot) for bank, shot in zip(banks, shots, strict=True)]
            captions = [lines[i] for lines in texts]
            memory = stack_memory(banks, packs)
            pairs = np.asarray(sampler(captions, memory, [shot_seed(seed, held.index, i) for held in group]))
            for bank, shot, pair in zip(banks, shots, pairs, strict=True):
                bank.add(*shot, pair)
            if progress:
                progress(number * count + i + 1, len(groups) * count)
        latents += [bank.latents.reshape(count, 2, *latent_shape) for bank in banks[:used]]
    pictures = decode_pairs(codec, np.concatenate(latents))
    return list(pictures.reshape(len(stories), count, *pictures.shape[1:]))


def decode_pairs(codec: PictureCodec, pairs: Float[np.ndarray, "n 2 c h w"]) -> UInt8[np.ndarray, "n 2 y x 3"]:
    frames = pairs.reshape(-1, *pairs.shape[2:])
    pictures = mapped(lambda rows: codec.decode_stills(jnp.asarray(frames[rows])), len(frames), STILLS)
    return pictures.reshape(-1, 2, *pictures.shape[1:])


def reconstructed_pairs(codec: PictureCodec, held: HeldOut) -> Pictures:
    """What the VAE leaves of the true pairs."""
    frames = held.pairs.reshape(-1, *held.pairs.shape[2:])
    return still_reconstructions(codec, frames).reshape(held.pairs.shape)


def read_boards(
    stories: Sequence[HeldOut], boards: Iterable[Pictures], progress: Callable[[int, int], None] | None = None
) -> dict[int, list[Outcome]]:
    """The probe's reading of every pair, compared with the truth, by story."""
    found = {}
    for done, (held, pictures) in enumerate(zip(stories, boards, strict=True), 1):
        found[held.index] = level_of(held.toy).outcomes(held.toy, pictures)
        if progress:
            progress(done, len(stories))
    return found


def recalled(outcomes: Sequence[Outcome], shot: int | None = None) -> list[Outcome]:
    """What the caption does not tell, from the second shot on, or of one shot (counted from 0)."""
    return [o for o in outcomes if o.recalled and (o.shot >= 1 if shot is None else o.shot == shot)]


def attribute_figures(
    measure: str,
    read: Outcomes,
    ceiling: Outcomes | None = None,
    ceiling_pictures: Outcomes | None = None,
    shot: int | None = None,
    level: Level = EASY,
) -> list[Figure]:
    """A figure for each attribute. ceiling: the reading of the VAE's reconstructions; ceiling_pictures: of the true pairs."""
    kept = {story: recalled(outcomes, shot) for story, outcomes in read.items()}
    beside = {
        name: level.summary(o for found in (outcomes or {}).values() for o in recalled(found, shot))
        for name, outcomes in (("ceiling", ceiling), ("ceiling_pictures", ceiling_pictures))
    }
    scores = level.summary(o for found in kept.values() for o in found)
    figures = []
    for attribute in level.attributes:
        rows = [(story, o.error) for story, found in kept.items() for o in found if o.attribute == attribute]
        if not rows:
            continue
        distance = attribute == POSITION
        figures.append(
            mean_figure(
                "step2",
                measure if shot is None else f"{measure}, shot {shot + 1}",
                attribute,
                "px" if distance else "share",
                [error if distance else 1 - error for _, error in rows],
                [story for story, _ in rows],
                chance=None if distance else scores[attribute].chance,
                **{name: found[attribute].value for name, found in beside.items() if attribute in found},
            )
        )
    return figures


def history_figures(
    sampler: Sampler,
    codec: PictureCodec,
    histories: Sequence[History],
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[list[Figure], dict[str, list[Pictures]]]:
    """With the true history and with memory off. Also the boards: truth, VAE, with memory, memory off."""
    stories = [history.held for history in histories]
    say = _labelled(progress)
    boards = {"truth": [held.pairs for held in stories], "VAE": [reconstructed_pairs(codec, held) for held in stories]}
    for name, memory in (("true history", True), ("memory off", False)):
        boards[name] = draw_with_true_history(
            sampler, codec, histories, memory=memory, seed=seed, progress=say(f"drawing, {name}")
        )
    read = {name: read_boards(stories, board, say(f"reading, {name}")) for name, board in boards.items()}
    figures = []
    for name in ("true history", "memory off"):
        figures += attribute_figures(name, read[name], read["VAE"], read["truth"])
    return figures, boards


def rollout_figures(
    sampler: Sampler,
    codec: PictureCodec,
    stories: Sequence[HeldOut],
    latent_shape: tuple[int, int, int],
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[list[Figure], dict[str, list[Pictures]]]:
    """Own rollout, over all shots and by shot. Also the boards: truth, VAE, rollout."""
    say = _labelled(progress)
    boards = {"truth": [held.pairs for held in stories], "VAE": [reconstructed_pairs(codec, held) for held in stories]}
    boards["own rollout"] = roll_out(sampler, codec, stories, latent_shape, seed=seed, progress=say("drawing, own rollout"))
    read = {name: read_boards(stories, board, say(f"reading rollouts, {name}")) for name, board in boards.items()}
    figures = []
    for shot in (None, *range(1, len(stories[0].shots))):
        figures += attribute_figures("own rollout", read["own rollout"], read["VAE"], read["truth"], shot)
    return figures, boards


def _labelled(progress: Progress | None) -> Callable[[str], Callable[[int, int], None] | None]:
    def labelled(label: str) -> Callable[[int, int], None] | None:
        return None if progress is None else lambda done, total: progress(label, done, total)

    return labelled
