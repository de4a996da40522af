"""What STEP2 reads of a shot: its description, and what a recipe adds to it."""

from __future__ import annotations

from stage_jax.recipes.step2_config import STEP2Config
from stage_jax.story.types import Shot, Story

CAMERA = ("size", "angle", "movement")  # attributes of a shot, C_i in the paper


def pair_text(shot: Shot, before: Shot | None, fps: float, recipe: STEP2Config) -> str:
    """The text for a shot's pair. before: the shot before it. fps: of the story, for the number of frames.

    The fields are those of STAGE's release: a previous shot, the current one, its seconds, its frames. It writes the camera
    into the description; here what the story says of it follows under a label."""
    parts = [shot.description]
    if recipe.attributes and (camera := [f"{name}: {value}" for name in CAMERA if (value := getattr(shot, name))]):
        parts.append(f"Camera: {', '.join(camera)}.")
    if recipe.timing:
        parts.append(f"Seconds: {shot.seconds:g}. Frames: {max(1, round(shot.seconds * fps))}.")
    if recipe.previous_text and before is not None:
        parts = [f"Previous shot: {before.description}", f"Current shot: {parts[0]}", *parts[1:]]
    return " ".join(parts)


def story_texts(story: Story, recipe: STEP2Config) -> list[str]:
    """The texts of all shots of a story, in order."""
    shots = [shot for _, shot in story.shots()]
    return [pair_text(shot, before, story.fps, recipe) for before, shot in zip([None, *shots], shots, strict=False)]
