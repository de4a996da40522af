"""The film as a timeline: OpenTimelineIO, and the CMX3600 edit list that its adapter writes.

Clips are named by paths relative to the board folder, so that the folder can go anywhere.
"""

from __future__ import annotations

from fractions import Fraction

import opentimelineio as otio

from stage_jax.film.timecode import editing_rate, frame_rate, shot_spans
from stage_jax.story.board import Board, BoardShot

JOINERS = "\u200c\u200d"
ATTRIBUTES = ("size", "angle", "movement", "transition", "dialogue", "notes")
DAY = 24 * 60 * 60  # seconds; timecode begins anew after it
MOST_EVENTS = 999  # that the three digits of an edit list count


def timeline(board: Board) -> otio.schema.Timeline:
    """One video track with a clip for each shot, at the film's own rate. `metadata["stage"]` of a clip has what made it."""
    return _timeline(board, frame_rate(board.fps), 1)


def otio_text(board: Board) -> str:
    """The film.otio."""
    return otio.adapters.write_to_string(timeline(board), "otio_json", indent=1) + "\n"


def edl_text(board: Board) -> str | None:
    """The film.edl (CMX3600), in non-drop timecode of `editing_rate`, which a comment of the first event names. None if there
    is no such rate, no timecode since the film is longer than a day, or no numbers for so many events.

    Source times count from the start of each clip, record times from 00:00:00:00. A reel is named by eight letters, made
    of the shot's place, since names of shots are longer.
    """
    rate = frame_rate(board.fps)
    edited = editing_rate(rate)
    spans = shot_spans(board)
    if edited is None or not 0 < len(spans) <= MOST_EVENTS or spans[-1][1] > DAY * rate:
        return None
    # Timecode counts NTSC's rates as the whole ones above them; the adapter would take 30000/1001 for drop-frame.
    edit = _timeline(board, Fraction(round(edited)), int(edited / rate))
    for number, clip in enumerate(edit.find_clips(), 1):
        # Said with the first event, since readers stop at a comment before it.
        notes = [f"FRAME RATE: {float(edited):.6g}"] * (number == 1) + [f"CAPTION: {clip.metadata['stage']['caption']}"]
        clip.metadata["cmx_3600"] = {"reel": f"S{number:05d}  ", "comments": notes}
    head, _, events = otio.adapters.write_to_string(edit, "cmx_3600", style="nucoda").partition("\n\n")
    return f"{head}\nFCM: NON-DROP FRAME\n\n{events}"


def one_line(text: str) -> str:
    """Text for formats made of lines: on one, without control characters; joiners, which spell words, stay."""
    return " ".join("".join(c if c.isprintable() or c in JOINERS else " " for c in text).split())


def _timeline(board: Board, rate: Fraction, held: int) -> otio.schema.Timeline:
    """rate: of the timeline. held: frames of the timeline that a frame of the film stands for."""
    track = otio.schema.Track("V1", kind=otio.schema.TrackKind.Video)
    for shot, (begin, end) in zip(board.shots, shot_spans(board), strict=True):
        track.append(_clip(board, shot, _range(rate, (end - begin) * held)))
    made = otio.schema.Timeline(one_line(board.story.title) or "Untitled", global_start_time=_time(rate, 0))
    made.tracks.append(track)
    return made


def _clip(board: Board, shot: BoardShot, span: otio.opentime.TimeRange) -> otio.schema.Clip:
    people = {character.id: character.name for character in board.story.characters}
    facts = {
        "caption": one_line(shot.caption),
        "scene": one_line(shot.scene.heading),
        "characters": [one_line(people.get(who, who)) for who in shot.shot.characters],
        **{name: one_line(getattr(shot.shot, name)) for name in ATTRIBUTES},
        "seed": shot.seed,
        "drawn_by": shot.source,
        "start": f"frames/{shot.name}_start.png",
        "end": f"frames/{shot.name}_end.png",
    }
    media = otio.schema.MissingReference()
    if shot.clip is not None:
        media = otio.schema.ExternalReference(f"clips/{shot.name}.mp4", span)
    return otio.schema.Clip(shot.name, media, span, {"stage": facts})


def _range(rate: Fraction, frames: int) -> otio.opentime.TimeRange:
    return otio.opentime.TimeRange(_time(rate, 0), _time(rate, frames))


def _time(rate: Fraction, frames: int) -> otio.opentime.RationalTime:
    return otio.opentime.RationalTime(frames, float(rate))
