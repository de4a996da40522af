"""Screenplays: what each element of Fountain becomes."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import pytest

from stage_jax.errors import InputError
from stage_jax.story import fountain
from stage_jax.story.fountain import parse_fountain
from stage_jax.story.fountain_elements import plain
from stage_jax.story.readers import read_story
from stage_jax.story.types import Character, Location, Shot, Story, story_from_json, story_to_json

SCREENPLAY = """\
Title: _**The Hat**_
Credit: written by
Author: Somebody
Logline:
    A hat is
    lost.
FPS: 12.5
Aspect: 16:9

FADE IN:

# Act one

= Mia loses it.

INT. KITCHEN - DAY #1A#

MIA, a red *circle* with a yellow hat, stands
in the kitchen. The door SLAMS shut. [[keep the
horizon low]]

MIA (CONT'D)
(quietly)
Hello?
{two_blanks}
Is somebody there?

/* not this:

INT. NOWHERE - NIGHT
*/
Tom and mia wait. BANG! The OLD MAN (70) enters.

@McCLANE ^
~Yippee.

TOM (V.O.)
I am far.

CUT TO:

.FLASHBACK ROOM

EXT. The Sea - House - Dusk

!MIA RUNS

> FADE OUT.

===

int./ext. kitchen - the next morning

TOM
Only words.

I/E CAR

ANNA (O.S.)
Wait.

McCLANE waits.

> THE END <
""".replace("{two_blanks}", "  ")  # which continue a dialogue


def shots(text: str) -> list[Shot]:
    return [shot for _, shot in parse_fountain(text, "x.fountain").shots()]


def names(text: str) -> list[str]:
    return [character.name for character in parse_fountain(text, "x.fountain").characters]


@pytest.fixture(scope="module")
def story() -> Story:
    return parse_fountain(SCREENPLAY, "hat.fountain")


def test_title_page(story: Story) -> None:
    assert (story.title, story.overview, story.fps, story.aspect) == ("The Hat", "A hat is lost.", 12.5, "16:9")


def test_scenes_and_places(story: Story) -> None:
    assert [(scene.id, scene.heading, scene.location, len(scene.shots)) for scene in story.scenes] == [
        ("SC01", "INT. KITCHEN - DAY", "kitchen", 2),
        ("SC02", "FLASHBACK ROOM", "flashback_room", 0),
        ("SC03", "EXT. The Sea - House - Dusk", "the_sea_house", 1),
        ("SC04", "int./ext. kitchen - the next morning", "kitchen", 1),
        ("SC05", "I/E CAR", "car", 1),
    ]
    assert story.locations == (
        Location("kitchen", "Kitchen"),
        Location("flashback_room", "Flashback Room"),
        Location("the_sea_house", "The Sea - House"),
        Location("car", "Car"),
    )


def test_shots(story: Story) -> None:
    assert [shot for _, shot in story.shots()] == [
        Shot(
            "SH010",
            "MIA, a red circle with a yellow hat, stands in the kitchen. The door SLAMS shut.",
            characters=("mia",),
            dialogue="Mia: (quietly) Hello? Is somebody there?",
            notes="FADE IN:\nMia loses it.\nkeep the horizon low",
        ),
        Shot(
            "SH020",
            "Tom and mia wait. BANG! The OLD MAN (70) enters.",
            characters=("tom", "mia", "old_man", "mcclane"),
            dialogue="McCLANE: Yippee.\nTom: I am far.",
            transition="CUT TO:",
        ),
        Shot("SH010", "MIA RUNS", characters=("mia",), transition="FADE OUT."),
        Shot("SH010", "Tom speaks.", characters=("tom",), dialogue="Tom: Only words."),
        Shot("SH010", "McCLANE waits.", characters=("mcclane",), dialogue="Anna: Wait.", notes="THE END"),
    ]


def test_characters(story: Story) -> None:
    introduced = "MIA, a red circle with a yellow hat, stands in the kitchen."
    assert story.characters == (
        Character("mia", "Mia", introduced),
        Character("old_man", "Old Man", "The OLD MAN (70) enters."),
        Character("mcclane", "McCLANE"),
        Character("tom", "Tom"),
        Character("anna", "Anna"),
    )


def test_it_is_a_valid_story(story: Story) -> None:
    assert story_from_json(story_to_json(story), "x") == story


def test_line_ends_do_not_matter() -> None:
    for ends in ("\r\n", "\r"):
        same = SCREENPLAY.replace("\n", ends)
        assert parse_fountain(same, "hat.fountain") == parse_fountain(SCREENPLAY, "hat.fountain")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("**bold** *it* ***both*** _under_", "bold it both under"),
        ("_*both*_ and *_both_*", "both and both"),
        (r"\*kept\* \_kept\_", "*kept* _kept_"),
        ("snake_case_name 2 * 3 * 4", "snake_case_name 2 * 3 * 4"),
        ("a *lone star", "a *lone star"),
        ("**bold *and slanted* words** *it **and** it*", "bold and slanted words it and it"),
        ("_snake_case_ and _two words_", "snake_case and two words"),
        ("*not\nacross lines*", "*not across lines*"),
        ("  many \t blanks  ", "many blanks"),
    ],
)
def test_emphasis(text: str, expected: str) -> None:
    assert plain(text) == expected


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("MIA waits.", ["Mia"]),
        ("We meet MIA.", ["Mia"]),
        ("Enter TOM and MIA, both old.", ["Tom", "Mia"]),
        ("The OLD MAN sits.", ["Old Man"]),
        ("A DOG barks at O'NEIL, and at JEAN-LUC.", ["Dog", "O'neil", "Jean-Luc"]),
        ("ZOË waits.", ["Zoë"]),
        ("The door SLAMS shut. A phone is RINGING.", []),
        ("BANG! Mia jumps.", []),
        ("CLOSE ON the hat. WIDE SHOT of the sea. POV.", []),
        ("I see a TV.", []),
        ("MIA RUNS AWAY", []),
        ("Mia waits.", []),
        ("Plan B. Mr. X waits.", []),
    ],
)
def test_who_is_introduced(action: str, expected: list[str]) -> None:
    assert names(f"EXT. SEA\n\n{action}") == expected


def test_those_who_speak_are_names_wherever_they_stand() -> None:
    story = parse_fountain("Then JAMES waits.\n\nJAMES\nHello.\n\njames's hat. Jameson leaves.", "x")
    assert story.characters == (Character("james", "James", "Then JAMES waits."),)
    assert [shot.characters for _, shot in story.shots()] == [("james",), ("james",)]
    assert shots("JAMES waits.\n\nJameson leaves.")[1].characters == ()


def test_the_longest_name_counts() -> None:
    assert shots("TOM sits.\n\nOLD TOM sits.\n\nold\ntom and Tom sit.")[2].characters == ("old_tom", "tom")


def test_action_needs_no_heading() -> None:
    story = parse_fountain("A hat lies there.\n\nIt flies.", "folder/hat.fountain")
    assert story.title == "hat" and story.locations == ()
    assert [(s.id, s.heading, s.location) for s in story.scenes] == [("SC01", "", "")]
    assert [shot.id for shot in story.scenes[0].shots] == ["SH010", "SH020"]


@pytest.mark.parametrize("opening", ["FADE IN:", "He waits: nothing.", "Note to self: run.", "CUT TO:\nSEA"])
def test_not_every_colon_is_a_title_page(opening: str) -> None:
    assert shots(f"{opening}\n\nEXT. SEA - DAY\n\nWaves.")[-1].description == "Waves."
    assert parse_fountain(f"{opening}\n\nEXT. SEA - DAY\n\nWaves.", "x.fountain").title == "x"


@pytest.mark.parametrize(
    ("heading", "place"),
    [
        ("INT. KITCHEN - DAY", "Kitchen"),
        ("int kitchen", "kitchen"),
        ("EST. KITCHEN -- NIGHT", "Kitchen"),
        ("INT./EXT. CAR – MOMENTS LATER", "Car"),
        ("EXT. HOUSE - KITCHEN", "House - Kitchen"),
        (".Dream", "Dream"),
        ("EXT. DAY CARE", "Day Care"),
        ("INT. - DAY", ""),
    ],
)
def test_places(heading: str, place: str) -> None:
    story = parse_fountain(f"{heading}\n\nWaves.", "x")
    assert [location.name for location in story.locations] == ([place] if place else [])


@pytest.mark.parametrize("action", ["International waters.", "Exterminate.", "...and then.", "An INT. inside."])
def test_no_headings(action: str) -> None:
    assert [scene.heading for scene in parse_fountain(f"{action}\n\nWaves.", "x").scenes] == [""]


def test_dialogue_goes_to_the_next_shot_only_if_the_scene_has_none_before() -> None:
    (first, second) = shots("EXT. SEA\n\nMIA\nHello.\n\nWaves.\n\nMore waves.\n\nTOM\nBye.")
    assert (first.dialogue, first.characters, second.dialogue) == ("Mia: Hello.", ("mia",), "Tom: Bye.")


def test_lyrics_alone_are_sung_by_nobody() -> None:
    assert shots("Waves.\n\n~la la\n~la")[0].dialogue == "la la la"


BAD = [
    ("", ":1: found no action"),
    ("Title: X\n\n", ":1: found no action"),
    ("INT. SEA - DAY\n\n> THE END <\n", ":1: found no action"),
    ("Waves.\n\n/* never ends", ":3: found /* and no */"),
    ("Title: X\nFPS: fast\n\nWaves.", ':2: FPS: found the string "fast"'),
    ("Title: X\nFPS: 0\n\nWaves.", ":2: FPS: found"),
    ("Title: X\nFPS: 0.5\n\nWaves.", ':2: FPS: found the string "0.5", expected frames a second, from 1 to 120'),
    ("Title: X\nAspect: 16/9\n\nWaves.", ':2: Aspect: found the string "16/9"'),
    ("Waves.\n\n" + "x" * 20_001, ":3: found a paragraph of 20,001 characters"),
    ("Waves.\n\n" + "**x** y\n" * 3_000, ":3: found a paragraph of 23,999 characters"),
    ("Title: X\nLogline:\n" + "    some words\n" * 2_000 + "\nWaves.", ":2: found a paragraph of 30,000 characters"),
]


@pytest.mark.parametrize(("text", "expected"), BAD, ids=[expected for _, expected in BAD])
def test_broken_screenplays(text: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "hat.fountain"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_story(path)
    assert str(caught.value).startswith(f"{path}{expected}") and "\n" not in str(caught.value)


def test_shots_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fountain, "MOST_SHOTS", 3)
    assert len(shots("Waves.\n\n" * 3)) == 3
    with pytest.raises(InputError, match=r"x.fountain:7: found shot 4, expected at most 3"):
        shots("Waves.\n\n" * 4)


MARKS = ["*a ", "**a ", "***a", "_a ", "_a", "_*", "*", "_", "[[", "[[a ", "]] [[", "> ", "#a", "A.", "A'", "a "]


@pytest.mark.parametrize("mark", MARKS)
def test_marks_that_nothing_closes_end_nowhere(mark: str) -> None:
    """Paragraphs as long as may be: patterns that go back over the text again and again would take minutes or more."""
    length = 19_990
    body = (mark * length)[:length]
    for text in (f"x{body}x", f"INT. x{body}x", f"> {body}x", f"> x{' ' * length}x", f"INT. x{' ' * length}x"):
        with contextlib.suppress(InputError):  # no action is bad input, and quick
            parse_fountain(text, "x.fountain")


def test_notes_end_where_they_say() -> None:
    (shot,) = shots("Waves [[one]] and [[two\nlines]] break [[not closed.")
    assert (shot.description, shot.notes) == ("Waves and break [[not closed.", "one\ntwo lines")


def test_a_binary_file(tmp_path: Path) -> None:
    path = tmp_path / "hat.fountain"
    path.write_bytes(b"INT. SEA\n\n\x00\x01\x02")
    with pytest.raises(InputError, match=r"hat.fountain:3: found no text"):
        read_story(path)


def test_any_mixture_of_lines_is_a_valid_story_or_bad_input() -> None:
    """Shuffled pieces of screenplays never end in anything but a story that its own checks take, or InputError."""
    pieces = [*SCREENPLAY.split("\n"), *"@>.!~#=^(:*", "[[", "]]", "/*", "*/", "..", "@^", "***", "", "", ""]
    pieces += ["INT.", "INT. ", "> <", "Title:", "A:", "ß", "İSTANBUL bekler.", "ǅ DŽ", "’ ‘"]
    rng = random.Random(0)
    made = 0
    for _ in range(300):
        text = "\n".join(rng.choice(pieces) for _ in range(rng.randint(1, 25)))
        with contextlib.suppress(InputError):
            story = parse_fountain(text, "x.fountain")
            assert story_from_json(story_to_json(story), "x") == story
            made += 1
    assert made > 100
