"""Apache Beam's local runner against the same functions in-process (`make test-beam`)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("apache_beam")

from apache_beam.io.localfilesystem import LocalFileSystem

from data_pipeline.annotate.film import annotate_film
from data_pipeline.annotate.parts import Asked, open_parts
from data_pipeline.beam import ingest_films, write_film_records
from data_pipeline.clips import ClipForm
from data_pipeline.film_folder import film_sources
from data_pipeline.ingest.film import ingest_film
from data_pipeline.outside import write_sources
from data_pipeline.records import open_splits
from stage_jax.cli.main import main
from stage_jax.errors import InputError
from tests.data_pipeline.test_ingest import make_film

FLAGS = ["--runner=DirectRunner"]
pytestmark = pytest.mark.beam


class Elsewhere(LocalFileSystem):
    """A file system that is not this machine's, as a bucket is: elsewhere:///PATH."""

    @classmethod
    def scheme(cls) -> str:
        return "elsewhere"

    def join(self, base: str, *paths: str) -> str:
        return "/".join((base.rstrip("/"), *paths))

    def _list(self, dir_or_prefix: str):
        for file in super()._list(_here(dir_or_prefix)):
            file.path = f"elsewhere://{file.path}"
            yield file

    def split(self, path: str) -> tuple[str, str]:
        folder, name = super().split(_here(path))
        return f"elsewhere://{folder}", name

    def exists(self, path: str) -> bool:
        return super().exists(_here(path))

    def mkdirs(self, path: str) -> None:
        super().mkdirs(_here(path))

    def rename(self, source_file_names: list[str], destination_file_names: list[str]) -> None:
        super().rename(*([_here(path) for path in paths] for paths in (source_file_names, destination_file_names)))

    def delete(self, paths: list[str]) -> None:
        super().delete([_here(path) for path in paths])

    def open(self, path: str, *args, **settings):
        return super().open(_here(path), *args, **settings)

    def create(self, path: str, *args, **settings):
        return super().create(_here(path), *args, **settings)


def _here(path: str) -> str:
    return path.removeprefix("elsewhere://")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two films of two stories, a third that is cut short, and a table of captions."""
    folder = tmp_path_factory.mktemp("films")
    make_film(folder / "a.mp4", [((200, 0, 0), 20), ((200, 90, 0), 20), ((0, 0, 200), 5)])
    make_film(folder / "b.mp4", [((0, 90, 0), 20), ((0, 90, 200), 20)])
    (folder / "broken.mp4").write_bytes((folder / "a.mp4").read_bytes()[:2_000])
    rows = [f"{film}/SC0{n}_SH010,story {n} of {film},CU\n" for film in "ab" for n in (1, 2)]
    (folder / "captions.csv").write_text("shot,caption,size\n" + "".join(rows))
    return folder


@pytest.fixture(scope="module")
def asked(films: Path) -> Asked:
    return Asked(captions=(films / "captions.csv",))


@pytest.fixture(scope="module")
def in_process(films: Path, asked: Asked, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("in_process")
    for name in ("a", "b"):
        ingest_film(films / f"{name}.mp4", out / name)
        annotate_film(out / name, open_parts(asked, out / "answers"))
    return out


def test_the_same_folders_and_records(films: Path, asked: Asked, in_process: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    told = ingest_films([f"{films}/*.mp4"], str(out), FLAGS, asked)
    assert [Path(film["film"]).name for film in told] == ["a.mp4", "b.mp4", "broken.mp4"]
    assert [(film["shots"], film["kept"], film["problems"]) for film in told] == [(3, 2, 0), (2, 2, 0), (0, 0, 0)]
    assert told[0]["error"] == "" and "broken.mp4: " in told[2]["error"]
    for report in out.glob("report-*"):
        report.unlink()
    assert contents(out) == contents(in_process)

    sizes, about, form = [(48, 80)], {"made_by": "film_folder"}, ClipForm(9, 6, films)
    write_sources(film_sources(in_process, form).sources, tmp_path / "one", sizes, about=about, validation=0.4)
    write_film_records(film_sources(out, form).sources, tmp_path / "two", sizes, FLAGS, about=about, validation=0.4)
    one, two = open_splits(tmp_path / "one"), open_splits(tmp_path / "two")
    assert one.keys() == two.keys() and sum(map(len, one.values())) == 4
    assert all(len(record["clips"]) == 9 * record["shots"] for split in one.values() for record in split)
    for split in one:
        assert len(one[split]) == len(two[split]) and one[split].metadata == two[split].metadata
        for first, second in zip(one[split], two[split], strict=True):
            assert first.keys() == second.keys()
            assert all(np.array_equal(first[name], second[name]) for name in first)


def test_a_file_system_elsewhere(films: Path, asked: Asked, in_process: Path, tmp_path: Path) -> None:
    """Films come from it and folders go to it; what is there is not made again, and a folder that is not whole is."""
    run = [f"elsewhere://{films}/*.mp4"], f"elsewhere://{tmp_path}/out", FLAGS, asked, tmp_path / "answers"
    told = ingest_films(*run)
    assert [bool(film["error"]) for film in told] == [False, False, True]
    assert told[2]["error"].startswith(f"elsewhere://{films}/broken.mp4: ")
    out = tmp_path / "out"
    assert all(contents(out / name) == contents(in_process / name) for name in "ab")
    (out / "a" / "shots.jsonl").unlink()
    marked = out / "b" / "SC01_SH010_start.png"
    marked.write_bytes(b"stays")
    ingest_films(*run)
    assert contents(out / "a") == contents(in_process / "a") and marked.read_bytes() == b"stays"


def test_the_verb(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    flags = ["--out", str(tmp_path / "out"), "--annotate", "--captions", str(films / "captions.csv"), "--runner=DirectRunner"]
    assert main(["data", "beam", "ingest", str(films / "a.mp4"), *flags]) == 0
    assert "a.mp4: 2 of 3 shots kept, 0 with problems" in capsys.readouterr().out
    story = json.loads((tmp_path / "out" / "a" / "story.json").read_text())
    assert story["scenes"][0]["shots"][0]["description"] == "story 1 of a"
    assert main(["data", "beam", "ingest", str(films / "broken.mp4"), *flags]) == 1
    assert main(["data", "beam", "records", str(tmp_path / "out"), "--out", str(tmp_path / "r"), "--size", "32x48"]) == 0
    assert len(open_splits(tmp_path / "r")["train"]) == 2


def test_what_is_refused(films: Path, asked: Asked, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    shutil.copy(films / "a.mp4", tmp_path / "more" / "A.mkv")
    with pytest.raises(InputError, match=r"A.mkv: its folder would be that of .*a.mp4"):
        ingest_films([f"{films}/a.mp4", f"{tmp_path}/more/*"], str(tmp_path / "out"), FLAGS)
    with pytest.raises(InputError, match="none.mp4: found no such file"):
        ingest_films([f"{films}/none.mp4"], str(tmp_path / "out"), FLAGS)
    with pytest.raises(InputError, match="answers cannot be kept there"):
        ingest_films([f"{films}/a.mp4"], "elsewhere:///out", FLAGS, asked)
    with pytest.raises(InputError, match="none.csv"):
        ingest_films([f"{films}/a.mp4"], str(tmp_path / "out"), FLAGS, Asked(captions=(tmp_path / "none.csv",)))
    assert not (tmp_path / "out").exists()
