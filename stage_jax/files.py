"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def write_bytes(path: str | Path, data: bytes) -> None:
    """Puts `data` at `path`, in place of what was there. Raises OSError, naming `path`, and then changes nothing."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(data)


def write_text(path: str | Path, text: str) -> None:
    """`write_bytes` of UTF-8 text; line ends stay as they are."""
    write_bytes(path, text.encode("utf-8"))


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A file beside `path`, with its suffix, that takes its place when the block ends and is gone when it fails.

    For writers that want a path of their own (PyAV, safetensors). The bytes are on the disk before the name is, so a
    crash leaves the old file or the new one. An OSError from the block or from here names `path`.
    """
    path = Path(path)
    with _about(path):
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
    temporary = Path(name)
    try:
        with _about(path, temporary):
            yield temporary
            _sync(temporary)
            os.chmod(temporary, 0o666 & ~_umask())  # mkstemp's files are for their owner only
            os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """A new folder beside `path` that takes its place, whole, when the block ends and is gone when it fails.

    What stood at `path` before stays until then and is removed after that; whether it may go is the caller's to say.
    """
    path = Path(path)
    with _folder_beside(path) as temporary:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                _sync(file)
        temporary.chmod(0o777 & ~_umask())
        _swap(temporary, path)


@contextmanager
def staged_folder(path: str | Path) -> Iterator[Path]:
    """A new folder beside `path` whose files, once the block ends, move to their places under `path`, whole.

    Other files under `path` stay. If the block fails, nothing under `path` has changed. That the place can be written
    is known before the block begins.
    """
    path = Path(path)
    with _about(path):
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    with _folder_beside(path) as temporary:
        yield temporary
        made = sorted(file for file in temporary.rglob("*") if file.is_file())
        for file in made:
            _sync(file)
        for file in made:
            place = path / file.relative_to(temporary)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, place)


@contextmanager
def _folder_beside(path: Path) -> Iterator[Path]:
    """A new folder beside `path`, gone at the end; if the block fails, so are the parents that were made for it."""
    new_parents = [parent for parent in path.parents if not parent.exists()]
    try:
        with _about(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent))
        try:
            with _about(path, temporary):
                yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except BaseException:
        with suppress(OSError):
            for parent in new_parents:  # the deepest first, each only if it is empty
                parent.rmdir()
        raise


def _swap(new: Path, path: Path) -> None:
    """Puts the folder `new` at `path`; if that fails, what stood there stands there again."""
    if not path.exists():
        new.rename(path)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".old", dir=path.parent))
    path.rename(old)  # onto an empty folder, which rename replaces
    try:
        new.rename(path)
    except BaseException:
        old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _about(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Names `path` in an OSError that names nothing, or what is made beside it, or a file in that."""
    try:
        yield
    except OSError as error:
        named = None if error.filename is None else Path(os.fsdecode(error.filename))
        if named is None or temporary is None:
            error.filename = str(path)
        elif named.is_relative_to(temporary):
            error.filename = str(path / named.relative_to(temporary))
        raise


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
