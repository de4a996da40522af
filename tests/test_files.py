"""Whole or not at all: what stands on the disk when writing fails at any point."""

from __future__ import annotations

import builtins
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from stage_jax import files


def failing(code: int) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


def break_(step: str, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes one of the steps of writing fail as a full disk or a read-only file system would."""
    if step == "mkstemp":
        monkeypatch.setattr(files.tempfile, "mkstemp", failing(code))
    elif step == "write":
        plain_open = builtins.open

        def open_(file: object, mode: str = "r", *rest: object, **more: object) -> object:
            handle = plain_open(file, mode, *rest, **more)
            if "w" not in mode:
                return handle
            handle.close()
            raise OSError(code, os.strerror(code), os.fspath(file))

        monkeypatch.setattr(builtins, "open", open_)
    else:
        monkeypatch.setattr(files.os, step, failing(code))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("step", ["mkstemp", "write", "fsync", "replace", "chmod"])
@pytest.mark.parametrize("before", [None, b"old"])
def test_a_failed_write_changes_nothing(
    step: str, code: int, before: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "story.json"
    if before is not None:
        path.write_bytes(before)
    with monkeypatch.context() as patch:
        break_(step, code, patch)
        with pytest.raises(OSError, match="story.json") as caught:
            files.write_bytes(path, b"new")
    assert caught.value.errno == code and caught.value.filename == str(path)
    assert [p.name for p in tmp_path.iterdir()] == ([] if before is None else ["story.json"])
    assert before is None or path.read_bytes() == before


def test_writes_replace_and_leave_nothing_beside_them(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    files.write_text(path, "eins\r\n")
    files.write_text(path, "zwölf\n")
    assert path.read_bytes() == "zwölf\n".encode()
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_new_files_have_the_rights_of_new_files(tmp_path: Path) -> None:
    (tmp_path / "usual").write_bytes(b"")
    files.write_bytes(tmp_path / "ours", b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_atomic_path_keeps_the_suffix_and_cleans_up(error: type[BaseException], tmp_path: Path) -> None:
    def write() -> None:
        with files.atomic_path(tmp_path / "film.mp4") as temporary:
            assert temporary.suffix == ".mp4" and temporary.parent == tmp_path
            temporary.write_bytes(b"half")
            raise error

    with pytest.raises(error):
        write()
    assert list(tmp_path.iterdir()) == []


def test_other_files_errors_keep_their_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, files.atomic_path(tmp_path / "a"):
        (tmp_path / "missing").read_bytes()
    assert caught.value.filename == str(tmp_path / "missing")


def test_folders_are_swapped_whole(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    for text in ("one", "two"):
        with files.atomic_folder(out) as folder:
            (folder / "sub").mkdir()
            (folder / "sub" / text).write_text(text)
        assert [p.name for p in (out / "sub").iterdir()] == [text]
    assert [p.name for p in out.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize("existing", [False, True])
def test_a_failed_folder_changes_nothing(
    existing: bool, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "deep" / "out"
    if existing:
        out.mkdir(parents=True)
        (out / "kept").write_text("old")
    monkeypatch.setattr(files.os, "fsync", failing(code))
    with pytest.raises(OSError, match="out") as caught, files.atomic_folder(out) as folder:
        (folder / "a.png").write_bytes(b"x")
    assert caught.value.filename == str(out)
    left = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*"))
    assert left == (["deep", "deep/out", "deep/out/kept"] if existing else [])


def test_a_failed_swap_puts_the_old_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "kept").write_text("old")
    rename = Path.rename

    def once(self: Path, target: Path) -> Path:
        if self.name.endswith(".partial"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", once)
    with pytest.raises(OSError, match="out"), files.atomic_folder(out) as folder:
        (folder / "a").write_text("new")
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")] == ["out", "out/kept"]


def test_errors_inside_a_folder_name_the_place_it_will_have(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, files.atomic_folder(tmp_path / "out") as folder:
        (folder / "no" / "a.png").write_bytes(b"")
    assert caught.value.filename == str(tmp_path / "out" / "no" / "a.png")
