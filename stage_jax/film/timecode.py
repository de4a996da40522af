"""Time on a film: frame rates as fractions, and the place of each shot as frames and as timecode.

Everything that names a time (page, sheet, film) takes it from here, so that the deliverables of one film agree.
"""

from __future__ import annotations

from fractions import Fraction

from stage_jax.story.board import Board, BoardShot

# Those that SMPTE timecode has, in frames a second (SMPTE ST 12-1, and its doubles in ST 12-3).
EDITING_RATES = tuple(sorted([*map(Fraction, (24, 25, 30, 48, 50, 60)), *(Fraction(n * 1000, 1001) for n in (24, 30, 48, 60))]))


def frame_rate(fps: float) -> Fraction:
    """The rate in frames per second as the fraction that it stands for: 8.0 -> 8, 23.976 -> 24000/1001.

    NTSC rates (n * 1000 / 1001, from 23.976 on) are written as decimals with two or three places; a rate that near to one is
    that one. A whole rate is itself.
    """
    ntsc = Fraction(round(fps) * 1000, 1001)
    if fps > 23 and fps != round(fps) and abs(fps - ntsc) < 0.005:
        return ntsc
    return Fraction(fps).limit_denominator(1001)


def editing_rate(rate: Fraction) -> Fraction | None:
    """The rate at which editing programs take a film of `rate`: the lowest of theirs that shows every frame equally often
    (8 -> 24, 16 -> 48, 24000/1001 -> itself). None if there is none (7)."""
    return next((known for known in EDITING_RATES if (known / rate).denominator == 1), None)


def shot_frames(shot: BoardShot, fps: float) -> int:
    """How many frames the shot has: those of its clip, or the length that the story asks for while it has none."""
    if shot.clip is not None:
        return shot.clip.frames
    return max(1, round(shot.shot.seconds * fps))


def shot_spans(board: Board) -> tuple[tuple[int, int], ...]:
    """(first frame, first frame after it) of each shot on the film, in story order, counted from 0."""
    spans, begin = [], 0
    for shot in board.shots:
        end = begin + shot_frames(shot, board.fps)
        spans.append((begin, end))
        begin = end
    return tuple(spans)


def timecode(frame: int, fps: float) -> str:
    """HH:MM:SS:FF of a frame counted from 0; non-drop, FF counts to the rate in whole frames (SMPTE ST 12-1)."""
    base = max(1, round(fps))
    seconds, frames = divmod(frame, base)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}:{frames:02d}"
