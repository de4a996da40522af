"""The refiner (STAGE, equation 9): a clip's prompt from the shot's description and its pair; here by rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from stage_jax.story.board import Board, BoardShot
from stage_jax.story.motion import Motion, measure

Refine = Callable[[BoardShot], str]
LEAST_SHIFT, LEAST_ZOOM, LEAST_LIGHT = 0.06, 0.04, 12.0  # of a frame, of the size, in grey values: less is called still
LEAST_TOLD = 0.25  # of the blocks: with less the frames have too little in common

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
