"""The shipped model draws a character whom words only name after a reference picture, and without one as it likes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_pipeline.toy_cinema import captions, render, scores, world
from data_pipeline.toy_cinema.figures import Figure, Pen, paint_figure
from stage_jax.film.make_boards import make_boards
from stage_jax.film.png import write_png
from tests.film.test_make import Said

pytestmark = pytest.mark.slow
LEVEL, COUNT = world.EASY, 18  # stories: three of each colour
GROUND = (150, 150, 150)


def toy_story(number: int) -> world.ToyStory:
    """One character in one shot; all but the colour by chance."""
    rng = np.random.default_rng(number)
    draw = {name: str(rng.choice(getattr(LEVEL, name))) for name in ("shapes", "hats", "places", "sizes", "actions")}
    colour, name = LEVEL.colours[number % len(LEVEL.colours)], world.NAMES[number % len(world.NAMES)]
    x, travel = world.place_figures(rng, draw["sizes"], draw["actions"], 1, True)
    return world.ToyStory(
        number, world.GIVEN,
        (world.ToyCharacter(name, draw["shapes"], colour, draw["hats"]),),
        (world.ToyPlace(world.PLACE_NAMES[number % len(world.PLACE_NAMES)], draw["places"]),),
        (world.ToyShot((0,), 0, draw["sizes"], draw["actions"], x, travel),),
    )  # fmt: skip


def written(toy: world.ToyStory, references: list[str]) -> str:
    """The story's file. Its one caption describes the place and names the character."""
    (who,), (place,), (shot,) = toy.characters, toy.places, toy.shots
    verb = captions.VERBS[shot.action][0]
    text = f"{shot.size} shot . {who.name} {verb} at {place.name} . {place.name} has {captions.place_words(place.kind)} ."
    shots = [{"id": "SH010", "description": text, "characters": [who.name], "seed": toy.seed}]
    people = [{"id": who.name, "name": who.name, "references": references}]
    return json.dumps({"title": "", "characters": people, "scenes": [{"id": "SC01", "shots": shots}]})


def upright(toy: world.ToyStory) -> np.ndarray:
    """The character alone before a plain ground, 96 x 128 pixels."""
    (who,) = toy.characters
    image = Image.new("RGB", (96, 128), GROUND)
    paint_figure(Pen(image, 2.0), Figure(who.shape, who.colour, who.hat, 24.0, 52.0, 32.0))
    return np.asarray(image)


def elsewhere(toy: world.ToyStory) -> np.ndarray:
    """The character in a picture as films of the toy world have them, close, at another place than the story's."""
    (who,) = toy.characters
    place = next(kind for kind in LEVEL.places if kind != toy.places[0].kind)
    figure = Figure(who.shape, who.colour, who.hat, 32.0, world.feet(world.CLOSE), world.body_side(world.CLOSE, 1))
    return render.render(render.SceneSpec(place, world.CLOSE, (figure,)))


def test_a_character_that_is_only_named_looks_like_its_reference(tmp_path: Path):
    toys, shares = [toy_story(number) for number in range(COUNT)], {}
    for name, paint in (("no reference", None), ("upright", upright), ("elsewhere", elsewhere)):
        folder = tmp_path / name
        folder.mkdir()
        for toy in toys:
            if paint:
                write_png(folder / f"{toy.seed}.png", paint(toy))
            (folder / f"{toy.seed}.json").write_text(written(toy, [f"{toy.seed}.png"] if paint else []))
        files = [folder / f"{toy.seed}.json" for toy in toys]
        boards = make_boards(files, folder / "out", Said())
        found = [
            outcome
            for toy, board in zip(toys, boards, strict=True)
            for outcome in scores.story_outcomes(toy, np.stack([board.shots[0].pair.start, board.shots[0].pair.end])[None])
        ]
        shares[name] = {attribute: score.value for attribute, score in scores.summary(found).items()}
        print(name, {attribute: round(share, 2) for attribute, share in shares[name].items()})
    assert shares["no reference"]["colour"] <= 0.4  # chance is one in six
    assert min(shares["upright"]["colour"], shares["elsewhere"]["colour"]) >= 0.8
    assert shares["elsewhere"]["hat"] >= 0.6 and shares["elsewhere"]["shape"] >= 0.7  # chance: 1/4 and 1/3
    assert all(share["place"] >= 0.9 for share in shares.values())  # the words', not the reference's
