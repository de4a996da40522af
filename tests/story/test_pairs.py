"""Given pictures: found by name, read as RGB, or refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from stage_jax.errors import InputError
from stage_jax.story import pairs
from stage_jax.story.types import Scene, Shot, Story

STORY = Story("T", scenes=(Scene("SC01", shots=(Shot("SH010", "a"), Shot("SH020", "b"))),))
NAMES = [f"SC01_SH0{n}0_{which}" for n in (1, 2) for which in ("start", "end")]


def draw(path: Path, colour: int = 9, size: tuple[int, int] = (5, 3)) -> None:
    Image.new("RGB", size, (colour, 2, 3)).save(path)


def test_pairs_are_read_as_they_are(tmp_path: Path) -> None:
    for colour, name in enumerate(NAMES):
        draw(tmp_path / f"{name}.png", colour)
    draw(tmp_path / "SC99_SH010_start.png")  # of no shot
    found = pairs.read_pairs(tmp_path, STORY)
    assert list(found) == ["SC01_SH010", "SC01_SH020"]
    pictures = [picture for pair in found.values() for picture in (pair.start, pair.end)]
    assert [picture[0, 0].tolist() for picture in pictures] == [[n, 2, 3] for n in range(4)]
    assert {(picture.shape, picture.dtype.name) for picture in pictures} == {((3, 5, 3), "uint8")}


def test_all_missing_pictures_are_named(tmp_path: Path) -> None:
    draw(tmp_path / f"{NAMES[1]}.jpg")
    with pytest.raises(InputError) as caught:
        pairs.read_pairs(tmp_path, STORY)
    assert f"3 pictures are missing: {NAMES[0]}.png, {NAMES[2]}.png, {NAMES[3]}.png" in str(caught.value)


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: no such folder, expected one with SC01_SH010_start.png"):
        pairs.read_pairs(tmp_path / "nowhere", STORY)


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("L", 7, [7, 7, 7]),
        ("RGBA", (200, 100, 50, 0), [0, 0, 0]),
        ("RGBA", (200, 100, 50, 255), [200, 100, 50]),
        ("I;16", 0x8080, [128, 128, 128]),
        ("1", 1, [255, 255, 255]),
        ("P", 0, [0, 0, 0]),
        ("LA", (7, 255), [7, 7, 7]),
    ],
)
def test_every_kind_of_png_becomes_rgb(mode: str, value: int | tuple, expected: list[int], tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new(mode, (4, 4), value).save(path)
    picture = pairs.read_picture(path)
    assert picture.shape == (4, 4, 3) and picture[0, 0].tolist() == expected


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_pictures_stand_upright(suffix: str, tmp_path: Path) -> None:
    """Orientation 6 of EXIF: what is stored has to be turned a quarter clockwise."""
    path = tmp_path / f"a.{suffix}"
    stored = np.zeros((16, 32, 3), np.uint8)
    stored[:, :16] = 255  # the left half, which comes to stand above
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(stored).save(path, exif=exif)
    picture = pairs.read_picture(path)
    assert picture.shape == (32, 16, 3) and picture[:14].min() > 200 and picture[18:].max() < 50


def test_broken_exif_is_no_harm(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    path = tmp_path / "a.png"
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = "words"
    exif[ExifTags.Base.XResolution] = 1.5
    exif[ExifTags.Base.Orientation] = 6
    whole = exif.tobytes()
    rng = np.random.default_rng(0)
    for position in range(6, len(whole)):  # after "Exif" and two zeros
        broken = bytearray(whole)
        broken[position] ^= int(rng.integers(1, 256))
        Image.new("RGB", (5, 3), (9, 2, 3)).save(path, exif=bytes(broken))
        assert pairs.read_picture(path).shape in {(3, 5, 3), (5, 3, 3)}
    assert not recwarn.list


def test_broken_pictures(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(path)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    for data in (b"", b"text", whole[: len(whole) // 2], whole[:20], bytes(flipped), b"GIF89a" + bytes(40)):
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"a.png: not a picture that can be read"):
            pairs.read_picture(path)


def test_a_jpeg_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    draw(path, size=(200, 200))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"a.jpg: not a picture"):
        pairs.read_picture(path)


def test_huge_pictures_are_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    Image.new("1", (11_000, 11_000)).save(path)
    with pytest.raises(InputError, match=r"over 100 million pixels"):
        pairs.read_picture(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 14)  # where Pillow warns, which is no limit of ours
    draw(path)
    assert pairs.read_picture(path).shape == (3, 5, 3)
    monkeypatch.setattr(pairs, "MOST_PIXELS", 14)
    draw(path)
    with pytest.raises(InputError, match=r"million pixels"):
        pairs.read_picture(path)
