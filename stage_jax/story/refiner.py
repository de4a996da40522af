"""The refiner (STAGE, equation 9): a clip's prompt from the shot's description and its pair, by rules or by a vision model."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from stage_jax.errors import InputError
from stage_jax.story.board import Board, BoardShot
from stage_jax.story.endpoint import Endpoint
from stage_jax.story.motion import Motion, measure
from stage_jax.story.schema import described

Refine = Callable[[BoardShot], str]
LEAST_SHIFT, LEAST_ZOOM, LEAST_LIGHT = 0.06, 0.04, 12.0  # of a frame, of the size, in grey values: less is called still
LEAST_TOLD = 0.25  # of the blocks: with less the frames have too little in common
LONGEST_PROMPT = 2000  # characters
SCHEMA = {
    "type": "object", "properties": {"prompt": {"type": "string"}}, "required": ["prompt"], "additionalProperties": False,
}  # fmt: skip
TASK = """The two pictures are the first and the last frame of one film shot. Write the prompt for a video model that fills in
what lies between: who moves how, what the camera does, what changes in the light, true to the pictures and to the description,
in one paragraph of at most 120 words. Answer with one JSON object that has the key "prompt"."""


def refine_board(board: Board, refine: Refine, progress: Callable[[int, int], None] | None = None) -> Board:
    """The board, and in it the story, with a video prompt for every shot that has none of its own."""
    prompts: dict[str, str] = {}
    for index, shot in enumerate(board.shots):
        prompts[shot.name] = shot.shot.video_prompt or refine(shot)
        if progress:
            progress(index + 1, len(board.shots))
    scenes = []
    for scene in board.story.scenes:
        names = {shot.id: board.story.shot_name(scene, shot) for shot in scene.shots}
        shots = (replace(shot, video_prompt=prompts.get(names[shot.id], shot.video_prompt)) for shot in scene.shots)
        scenes.append(replace(scene, shots=tuple(shots)))
    return replace(
        board,
        story=replace(board.story, scenes=tuple(scenes)),
        shots=tuple(replace(shot, shot=replace(shot.shot, video_prompt=prompts[shot.name])) for shot in board.shots),
    )


def refine_by_rules(shot: BoardShot) -> str:
    """The caption, and what the pair shows beyond it: the camera's motion (the story's word for it, if it has one), the
    subject's, and the light's."""
    motion = measure(shot.pair.start, shot.pair.end)
    asked = shot.shot.movement if shot.shot.movement not in ("", "static") else ""
    told = [shot.caption.strip(), f"The camera moves: {asked}." if asked else camera_words(motion)]
    told += [subject_words(motion), light_words(motion)]
    return " ".join(filter(None, told))


def refine_by_model(shot: BoardShot, endpoint: Endpoint) -> str:
    """What a vision model writes, seeing both frames."""
    pictures = [{"type": "image_url", "image_url": {"url": _data_url(p)}} for p in (shot.pair.start, shot.pair.end)]
    content = [{"type": "text", "text": f"Description: {shot.caption}\nCamera: {shot.shot.movement or 'as seen'}"}, *pictures]
    messages = [{"role": "system", "content": TASK}, {"role": "user", "content": content}]
    return endpoint.ask(messages, "clip_prompt", SCHEMA, _checked)


def camera_words(motion: Motion) -> str:
    """What the camera does; it turns against the way that the picture shifts."""
    if motion.told < LEAST_TOLD:
        return ""
    x, y = motion.camera
    words = []
    if abs(x) >= LEAST_SHIFT:
        words.append(f"pans {'left' if x > 0 else 'right'}")
    if abs(y) >= LEAST_SHIFT:
        words.append(f"tilts {'up' if y > 0 else 'down'}")
    if abs(motion.zoom - 1) >= LEAST_ZOOM:
        words.append(f"moves {'in' if motion.zoom > 1 else 'out'}")
    return f"The camera {' and '.join(words)}." if words else "The camera holds still."


def subject_words(motion: Motion) -> str:
    """Which way the subject goes, and how far."""
    if motion.told < LEAST_TOLD:
        return "Everything in the picture changes."
    x, y = motion.subject
    ways = [(abs(x), "right" if x > 0 else "left"), (abs(y), "down" if y > 0 else "up")]
    ways = [(far, way) for far, way in sorted(ways, reverse=True) if far >= LEAST_SHIFT]
    if not ways:
        return "Nothing else moves far."
    far = ways[0][0]
    reach = "a little" if far < 0.15 else "a quarter of the frame" if far < 0.3 else "far across the frame"
    return f"The subject moves {' and '.join(way for _, way in ways)}, {reach}."


def light_words(motion: Motion) -> str:
    if abs(motion.light) < LEAST_LIGHT:
        return ""
    return f"It grows {'brighter' if motion.light > 0 else 'darker'}."


def _checked(value: Any) -> str:
    prompt = value.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip() or len(prompt) > LONGEST_PROMPT:
        raise InputError(f"prompt: found {described(prompt)}, expected 1 to {LONGEST_PROMPT:,} characters")
    return " ".join(prompt.split())


def _data_url(picture: UInt8[np.ndarray, "H W 3"]) -> str:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
