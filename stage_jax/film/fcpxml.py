"""The film as Final Cut Pro XML (1.8), which DaVinci Resolve and Premiere read as well.

Written here, since the adapter of OpenTimelineIO that has this format (1.0.0) cannot be imported by any Python that this
package runs on.
"""

from __future__ import annotations

import re
from fractions import Fraction
from xml.etree import ElementTree

from stage_jax.film.timecode import editing_rate, frame_rate, shot_spans
from stage_jax.film.timeline import one_line
from stage_jax.film.video import film_scale
from stage_jax.story.board import Board

NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, 2.2


def fcpxml_text(board: Board) -> str:
    """The film.fcpxml: a sequence of the shots' clips. Times are exact fractions of a second; the sequence has the film's
    `editing_rate` (its own if there is none), the clips have the film's own."""
    rate = frame_rate(board.fps)
    root = ElementTree.Element("fcpxml", version="1.8")
    resources = ElementTree.SubElement(root, "resources")
    height, width = board.shots[0].pair.start.shape[:2]
    scale = film_scale(height, width)
    size = {"width": str(width * scale), "height": str(height * scale)}
    _format(resources, "sequence", editing_rate(rate) or rate, size)
    _format(resources, "clip", rate, size)
    title = _plain(board.story.title) or "Untitled"
    spans = shot_spans(board)
    project = ElementTree.SubElement(ElementTree.SubElement(root, "event", name=title), "project", name=title)
    length = _seconds(spans[-1][1], rate)
    sequence = ElementTree.SubElement(project, "sequence", format="sequence", duration=length, tcStart="0s", tcFormat="NDF")
    spine = ElementTree.SubElement(sequence, "spine")
    for shot, (begin, end) in zip(board.shots, spans, strict=True):
        duration = _seconds(end - begin, rate)
        place = {"name": shot.name, "offset": _seconds(begin, rate), "duration": duration, "start": "0s"}
        if shot.clip is None:
            clip = ElementTree.SubElement(spine, "gap", place)
        else:
            asset = {"id": f"a-{shot.name}", "name": shot.name, "src": f"./clips/{shot.name}.mp4", "start": "0s"}
            ElementTree.SubElement(resources, "asset", asset, duration=duration, hasVideo="1", format="clip")
            clip = ElementTree.SubElement(spine, "asset-clip", place, ref=asset["id"], format="clip")
        ElementTree.SubElement(clip, "note").text = _plain(shot.caption)
    ElementTree.indent(root)
    body = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n{body}\n'


def _format(resources: ElementTree.Element, name: str, rate: Fraction, size: dict[str, str]) -> None:
    ElementTree.SubElement(resources, "format", size, id=name, frameDuration=_seconds(1, rate))


def _seconds(frames: int, rate: Fraction) -> str:
    """A time as FCPXML has it: "17/8s", "3s"."""
    time = frames / rate
    return f"{time}s"


def _plain(text: str) -> str:
    return NO_XML.sub("\ufffd", one_line(text))
