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


def tree(folder: Path) -> dict[str, str | None]:
    """Everything under a folder: the text of files, None for folders."""
    return {str(p.relative_to(folder)): p.read_text() if p.is_file() else None for p in sorted(folder.rglob("*"))}


def make(folder: Path, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


OLD, NEW = {"a": "old", "sub/b": "old", "z": "kept"}, {"a": "new", "sub/b": "new", "sub/more/c": "new", "x": "new"}


@pytest.mark.parametrize("before", [{}, OLD])
def test_staged_files_join_those_that_are_there(before: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    make(out, before)
    with files.staged_folder(out, list(NEW)) as folder:
        assert folder.parent == out and folder.name.startswith(".")  # in it, for it may be a disk of its own
        make(folder, NEW)
    assert {name: text for name, text in tree(tmp_path / "deep" / "out").items() if text is not None} == before | NEW
    assert [p.name for p in out.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("before", [{}, OLD])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EXDEV])
@pytest.mark.parametrize("at", range(6))
def test_a_move_that_fails_is_undone(
    at: int, code: int, before: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "deep" / "out"
    make(out, before)
    expected, replace, calls = tree(tmp_path), os.replace, []

    def fail_once(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == at % (6 if before else 4) + 1:
            raise OSError(code, os.strerror(code), str(source))
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", fail_once)
    with pytest.raises(OSError, match="out") as caught, files.staged_folder(out) as folder:
        make(folder, NEW)
    assert caught.value.errno == code and tree(tmp_path) == expected


def test_what_cannot_be_put_back_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, {"a": "old"})
    replace, calls = os.replace, []

    def fail_after_one(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) > 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(source))
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", fail_after_one)
    with pytest.raises(OSError, match="error"), files.staged_folder(tmp_path) as folder:
        make(folder, {"a": "new"})
    assert [text for text in tree(tmp_path).values() if text is not None] == ["old"]


@pytest.mark.parametrize(("taken", "made"), [("x/y", "x"), ("x", "x/y")])
@pytest.mark.parametrize("known", [False, True])
def test_a_folder_in_the_place_of_a_file_and_the_reverse(taken: str, made: str, known: bool, tmp_path: Path) -> None:
    """Nothing is moved then; and where the name was told before, nothing is made."""
    make(tmp_path, {"a": "old", taken: "old"})
    expected, began = tree(tmp_path), []

    def stage() -> None:
        with files.staged_folder(tmp_path, [made] if known else []) as folder:
            began.append(folder)
            make(folder, {"a": "new", made: "new"})

    with pytest.raises((IsADirectoryError, NotADirectoryError)) as caught:
        stage()
    assert caught.value.filename == str(tmp_path / "x") and bool(began) != known
    assert tree(tmp_path) == expected


def test_a_place_that_is_a_file_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    make(tmp_path, {"out": "mine"})
    for out in (tmp_path / "out", tmp_path / "out" / "deep"):
        with pytest.raises(OSError, match="out"), files.staged_folder(out):
            pytest.fail("the block began")
    assert tree(tmp_path) == {"out": "mine"}


def test_native_writers_words_become_an_os_error() -> None:
    with pytest.raises(OSError, match="out") as caught, files.system_errors("out"):
        raise ValueError("RESOURCE_EXHAUSTED: Failed to write 202 bytes: No space left on device [os_error_code='28']")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "out")
    with pytest.raises(ValueError, match="Found empty item"), files.system_errors("out"):
        raise ValueError("Found empty item")
    for named, expected in ((None, "out"), ("other", "other")):
        with pytest.raises(OSError, match="No space") as caught, files.system_errors("out"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), named)
        assert caught.value.filename == expected


def test_an_error_that_is_only_a_text_keeps_it(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="^Not enough disk space$"), files.atomic_folder(tmp_path / "out"):
        raise OSError("Not enough disk space")
