"""A Fountain screenplay as a list of its elements (syntax: https://fountain.io/syntax), each with its line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from stage_jax.errors import InputError
from stage_jax.story.schema import LONGEST_TEXT

Kind = Literal["title", "heading", "action", "dialogue", "transition", "note", "synopsis"]
Line = tuple[int, str]  # its number from 1, its text

HEADING = re.compile(r"(?:INT\.?/EXT|EXT\.?/INT|I/E|INT|EXT|EST)[. ]", re.IGNORECASE)
FORCED_HEADING = re.compile(r"\.(?=\w)")
SCENE_NUMBER = re.compile(r"#[\w.\-]+#$")
TRANSITION = re.compile(r"(?=.*[A-Z])[^a-z]*TO:|(?:FADE|CUT|DISSOLVE) [^a-z]*[.:]")
TITLE_LINE = re.compile(r"([A-Za-z][A-Za-z _-]{0,40}):[ \t]*(.*)")
TITLE_KEYS = {
    "title", "credit", "author", "authors", "source", "notes", "draft date", "date", "contact", "copyright", "revision",
    "logline", "overview", "fps", "aspect",
}  # fmt: skip
# Emphasis. What a pattern passes over holds no place where it could begin, so that the time stays linear in the text.
STARS = re.compile(r"(\*{1,3})(?=[^\s*])([^*\n]+)(?<!\s)\1")
UNDERLINE = re.compile(r"(?<!\w)_(?=\S)((?:[^_\n]|(?<=\w)_(?=\w))+)(?<!\s)_(?!\w)")


@dataclass(frozen=True)
class Element:
    """`text` is plain: no marks, no line ends. `who` is a cue's name, or a title page's key in lower case.

    `aside` holds what a cue says in brackets: V.O., O.S., CONT'D.
    """

    kind: Kind
    text: str
    line: int
    who: str = ""
    aside: str = ""


def elements(text: str, file: str) -> list[Element]:
    """All elements of a screenplay in order; sections and page breaks, which show nothing, are left out.

    Raises InputError with the line for a boneyard that nothing ends and for a paragraph longer than a shot may say.
    """
    lines = list(enumerate(_without_boneyard(re.sub(r"\r\n?", "\n", text), file).split("\n"), 1))
    for number, line in lines:
        _check_length(line, number, file)
    title, body = _title_page(lines, file)
    return title + [element for block in _blocks(body) for element in _block(block, file)]


def plain(text: str) -> str:
    """Without the marks of emphasis (*, **, ***, _), with single blanks; a mark after a backslash stays."""
    text = text.replace("\\*", "\ue000").replace("\\_", "\ue001")
    text = UNDERLINE.sub(r"\1", STARS.sub(r"\2", text))
    text = STARS.sub(r"\2", text)  # stars that stood inside underlining, or around other stars
    return " ".join(text.replace("\ue000", "*").replace("\ue001", "_").split())


def _check_length(text: str, line: int, file: str) -> None:
    if len(text) > LONGEST_TEXT:
        raise InputError(f"{file}:{line}: found a paragraph of {len(text):,} characters, expected at most {LONGEST_TEXT:,}")


def _without_boneyard(text: str, file: str) -> str:
    """Removes /* ... */ but for its line ends, so that line numbers stay true."""
    kept, end = [], 0
    while (start := text.find("/*", end)) >= 0:
        kept.append(text[end:start])
        stop = text.find("*/", start + 2)
        if stop < 0:
            raise InputError(f"{file}:{text.count(chr(10), 0, start) + 1}: found /* and no */ after it, expected both")
        kept.append("\n" * text.count("\n", start, stop))
        end = stop + 2
    return "".join([*kept, text[end:]])


def _title_page(lines: list[Line], file: str) -> tuple[list[Element], list[Line]]:
    """The entries of the title page, if there is one, and the lines after it."""
    start = next((i for i, (_, text) in enumerate(lines) if text.strip()), len(lines))
    stop = next((i for i in range(start, len(lines)) if not lines[i][1].strip()), len(lines))
    entries: list[tuple[int, str, list[str]]] = []
    for number, text in lines[start:stop]:
        match = TITLE_LINE.fullmatch(text.rstrip())
        if match:
            entries.append((number, match[1].strip().lower(), [match[2]]))
        elif entries and text[:1].isspace():
            entries[-1][2].append(text)
        else:
            return [], lines
    # Prose may open with "He waits:", and a film with "FADE IN:"; a title page has a key that title pages have.
    if not any(key in TITLE_KEYS for _, key, _ in entries):
        return [], lines
    texts = [" ".join(value) for *_, value in entries]
    for (number, *_), text in zip(entries, texts, strict=True):
        _check_length(text, number, file)
    title = [Element("title", plain(text), number, key) for (number, key, _), text in zip(entries, texts, strict=True)]
    return title, lines[stop:]


def _blocks(lines: list[Line]) -> Iterator[list[Line]]:
    """Runs of lines that are not blank. In dialogue a line of two blanks is a line like others."""
    block: list[Line] = []
    for number, text in lines:
        if text.strip() or (len(text) >= 2 and len(block) > 1 and _cue(block)):
            block.append((number, text.strip()))
        elif block:
            yield block
            block = []
    if block:
        yield block


def _block(block: list[Line], file: str) -> Iterator[Element]:
    """The elements of one block: what stands on a line by itself first, then dialogue or a paragraph."""
    for index, (number, text) in enumerate(block):
        element = _line_element(number, text, alone=index == len(block) - 1)
        if element is not None:
            yield element
        elif not _shows_nothing(text):
            yield from _words(block[index:], file)
            return


def _words(block: list[Line], file: str) -> Iterator[Element]:
    """Dialogue or a paragraph, and the notes in it."""
    number = block[0][0]
    joined = "\n".join(text for _, text in block)
    _check_length(joined, number, file)
    whole, notes = _without_notes(joined)
    if _cue(block):
        yield from _dialogue(number, whole.split("\n"))
    else:
        yield from _paragraph(number, whole.split("\n"))
    for note in notes:
        yield Element("note", plain(note), number)


def _line_element(number: int, text: str, alone: bool) -> Element | None:
    """The element that a line is by its own look, if it is one."""
    if HEADING.match(text) or FORCED_HEADING.match(text):
        bare, _ = _without_notes(SCENE_NUMBER.sub("", FORCED_HEADING.sub("", text, count=1)))
        return Element("heading", plain(bare), number)
    if text.startswith("=") and not _shows_nothing(text):
        return Element("synopsis", plain(text[1:]), number)
    if text.startswith(">") and text.endswith("<"):
        return Element("note", plain(text[1:-1]), number)  # writing on the page or the screen, not a picture
    if text.startswith(">"):
        return Element("transition", plain(text[1:]), number)
    if alone and TRANSITION.fullmatch(text):
        return Element("transition", plain(text), number)
    return None


def _shows_nothing(text: str) -> bool:
    """A section (#), or a page break (===)."""
    return text.startswith("#") or re.fullmatch(r"={3,}", text) is not None


def _cue(block: list[Line]) -> bool:
    """Whether a block is a name and what it says: forced by @, or in capitals with something under it."""
    text = block[0][1]
    if text.startswith("@"):
        return len(text) > 1
    name = text.split("(")[0]
    return len(block) > 1 and any(c.isupper() for c in name) and name == name.upper() and text[0] not in "!~>=#."


def _dialogue(number: int, lines: list[str]) -> Iterator[Element]:
    cue = plain(lines[0].lstrip("@").rstrip("^ "))
    name, _, aside = cue.partition("(")
    said = plain(" ".join(line.lstrip("~") for line in lines[1:]))
    yield Element("dialogue", said, number, " ".join(name.split()), aside.rstrip(") "))


def _paragraph(number: int, lines: list[str]) -> Iterator[Element]:
    """Action, or lyrics (~) that nobody's cue stands over."""
    if all(line.startswith("~") for line in lines if line):
        words = plain(" ".join(line.lstrip("~") for line in lines))
        kind: Kind = "dialogue"
    else:
        words, kind = plain(" ".join(re.sub(r"^!{1,2}", "", line) for line in lines)), "action"
    if words:
        yield Element(kind, words, number)


def _without_notes(text: str) -> tuple[str, list[str]]:
    """The text without its [[notes]], and the notes."""
    kept, notes, end = [], [], 0
    while (start := text.find("[[", end)) >= 0 and (stop := text.find("]]", start + 2)) >= 0:
        kept.append(text[end:start])
        notes.append(text[start + 2 : stop])
        end = stop + 2
    return " ".join([*kept, text[end:]]), notes
