"""The board as a project of Storyboarder, Wonder Unit's drawing program: two boards a shot, its start and its end."""

from __future__ import annotations

import hashlib
import json
import string
from collections.abc import Sequence
from pathlib import Path

from stage_jax import files
from stage_jax.film.png import write_png
from stage_jax.film.timecode import frame_rate, shot_spans
from stage_jax.story.board import Board

VERSION = "2.0.1"  # of Storyboarder's files
LETTERS = string.digits + string.ascii_uppercase
FILE = "storyboarder/film.storyboarder"


def storyboarder_names(shots: Sequence[str]) -> list[str]:
    """The files of the project, relative to the board folder. shots: their names."""
    return [FILE, *(f"storyboarder/images/{_layer(number, uid)}" for number, uid in enumerate(_uids(shots), 1))]


def write_storyboarder(board: Board, folder: Path) -> None:
    """Writes the project into `folder`/storyboarder. A board shows its frame in the layer `reference`, under the drawing."""
    (folder / "storyboarder" / "images").mkdir(parents=True)
    rate, uids, boards = frame_rate(board.fps), _uids([shot.name for shot in board.shots]), []
    for index, (shot, (begin, end)) in enumerate(zip(board.shots, shot_spans(board), strict=True)):
        middle = (begin + end + 1) // 2
        for which, first, last in (("start", begin, middle), ("end", middle, end)):
            number = len(boards) + 1
            uid = uids[number - 1]
            write_png(folder / "storyboarder" / "images" / _layer(number, uid), getattr(shot.pair, which))
            time = round(1000 * first / rate)
            boards.append({
                "uid": uid,
                "url": f"board-{number}-{uid}.png",
                "newShot": which == "start",
                "lastEdited": 0,
                "number": number,
                "shot": f"{index + 1}{'A' if which == 'start' else 'B'}",
                "time": time,  # milliseconds, as its duration
                "duration": round(1000 * last / rate) - time,
                "dialogue": shot.shot.dialogue if which == "start" else "",
                "action": shot.caption,
                "notes": "\n".join(filter(None, [f"{shot.name} {which}", getattr(shot.shot, which).prompt, shot.shot.notes])),
                "layers": {"reference": {"url": _layer(number, uid), "opacity": 1}},
            })  # fmt: skip
    height, width = board.shots[0].pair.start.shape[:2]
    project = {"version": VERSION, "aspectRatio": width / height, "fps": float(rate), "defaultBoardTiming": 2000}
    files.write_text(folder / FILE, json.dumps(project | {"boards": boards}, indent=2, ensure_ascii=False) + "\n")


def _uids(shots: Sequence[str]) -> list[str]:
    """Five letters for each board, as the program gives them; from the shot's name, so that they stay."""
    taken = dict[str, None]()
    for name in shots:
        for which in ("start", "end"):
            number = int.from_bytes(hashlib.sha256(f"{name}_{which}".encode()).digest(), "big")
            while (uid := _letters(number)) in taken:
                number += 1
            taken[uid] = None
    return list(taken)


def _letters(number: int) -> str:
    return "".join(LETTERS[number // len(LETTERS) ** place % len(LETTERS)] for place in range(5))


def _layer(number: int, uid: str) -> str:
    return f"board-{number}-{uid}-reference.png"
