"""Reference pictures of a story's characters: read for the shots that name them, or said to be of no use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from stage_jax.generate.models import Models
from stage_jax.recipes.packing import memory_sizes
from stage_jax.story.board import Reference
from stage_jax.story.pairs import read_picture
from stage_jax.story.pictures import whole_picture
from stage_jax.story.schema import shortened
from stage_jax.story.tables import listed_once
from stage_jax.story.types import Story

NOTHING_DRAWN, NO_MEMORY = "no pair is drawn", "the model has no memory"


def read_references(story: Story, folder: Path, size: tuple[int, int]) -> tuple[Reference, ...]:
    """The references of all characters that some shot names, in the story's order, brought to the model's size (height and
    width). folder: the story's, to which their paths are relative. InputError for what is no picture."""
    named = _named(story)
    return tuple(
        Reference(who.id, number, whole_picture(read_picture(folder / path), size))
        for who in story.characters
        if who.id in named
        for number, path in enumerate(who.references, 1)
    )


def why_unused(models: Models) -> str:
    """Why no reference at all has a say in what these models draw; empty if they have one."""
    if models.step2 is None:
        return NOTHING_DRAWN
    return "" if memory_sizes(models.step2.recipe, *models.latent_shape()[1:]) else NO_MEMORY


def unused_references(story: Story, why: str) -> Iterator[str]:
    """A line that names the characters whose references change no picture. why: see `why_unused`."""
    named = set() if why else _named(story)
    unused = [who for who in story.characters if who.references and who.id not in named]
    if unused:
        listed = listed_once(shortened(who.id) for who in unused)
        yield f"left out the references of {listed}: {why or 'no shot names them'}"


def _named(story: Story) -> set[str]:
    return {who for _, shot in story.shots() for who in shot.characters}
