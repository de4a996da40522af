"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

FULL_OR_CLOSED = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)


def is_inside(path: Path, folder: Path) -> bool:
    """Whether a path lies in a folder once all links are followed; one that runs in a circle lies where it stands.

    By os.path, because Path.resolve raises RuntimeError on such links (until Python 3.13).
    """
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


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
    with _folder_in(path.parent, path) as temporary:
        yield temporary
        for file in _files_in(temporary):
            _sync(file)
        temporary.chmod(0o777 & ~_umask())
        _swap(temporary, path)


@contextmanager
def locked(path: str | Path) -> Iterator[None]:
    """While the block runs, other processes wait at theirs of the same path: a file that is there meanwhile."""
    with open(path, "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # given back when the file is closed, or its process ends
        try:
            yield
        finally:
            Path(path).unlink(missing_ok=True)


@contextmanager
def staged_folder(path: str | Path, expected: Sequence[str] = (), earlier: Sequence[str] = ()) -> Iterator[Path]:
    """A new hidden folder in `path` whose files, once the block ends, move to their places under `path`, all or none.

    Other files under `path` stay. If the block fails, or a file cannot be moved, nothing under `path` has changed. It is in
    `path` and not beside it because `path` may be a disk of its own. expected: files that the block will make, as far as
    they are known. That `path` can be written and that they have room there is known before the block begins. earlier: files
    under `path` that go, together with the move, unless the block makes them anew.
    """
    path = Path(path)
    with _folder_in(path, path) as temporary:
        _check_room(path, [Path(name) for name in expected])
        yield temporary
        names = [file.relative_to(temporary) for file in _files_in(temporary)]
        _check_room(path, names)
        for name in names:
            _sync(temporary / name)
        _move(temporary, path, names, [Path(name) for name in earlier if Path(name) not in names])


def remove_partial(path: str | Path) -> None:
    """Removes what a killed process left of `staged_folder(path)`. For folders that one process at a time works in."""
    path = Path(path)
    for folder in path.iterdir() if path.is_dir() else ():
        if folder.name.startswith(f".{path.name}.") and folder.suffix == ".partial":
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def system_errors(path: str | Path) -> Iterator[None]:
    """Makes an OSError that names `path` of what native writers (ArrayRecord, TensorStore) say in words only: RuntimeError or
    ValueError of a full disk, or of one that must not be written. Names it, too, in an OSError that names nothing."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise
    except (RuntimeError, ValueError) as error:
        for code in FULL_OR_CLOSED:
            if os.strerror(code) in str(error):
                raise OSError(code, os.strerror(code), str(path)) from error
        raise


@contextmanager
def named_errors(path: str | Path) -> Iterator[None]:
    """Names `path` in an OSError that names nothing, as one of writing to an open file does."""
    with _about(Path(path)):
        yield


@contextmanager
def _folder_in(parent: Path, path: Path) -> Iterator[Path]:
    """A new hidden folder in `parent`, gone at the end; if the block fails, so are the parents that were made for it. Errors
    in it name `path`, whose contents it will be."""
    new_parents = [folder for folder in (parent, *parent.parents) if not folder.exists()]
    try:
        with _about(path):
            parent.mkdir(parents=True, exist_ok=True)
            temporary = _hidden(parent, path.name, ".partial")
        try:
            with _about(path, temporary):
                yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except BaseException:
        _remove_empty(new_parents)
        raise


def _hidden(parent: Path, name: str, suffix: str) -> Path:
    return Path(tempfile.mkdtemp(prefix=f".{name}.", suffix=suffix, dir=parent))


def _remove_empty(folders: Sequence[Path]) -> None:
    """Removes the folders, the deepest first, up to one that something is in."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()


def _files_in(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def _check_room(path: Path, names: Sequence[Path]) -> None:
    """OSError if a folder stands where one of the files is to go, or a file where its folder is to be."""
    for name in names:
        if (path / name).is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path / name))
        for folder in (path / parent for parent in name.parents):
            if folder.exists() and not folder.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))


def _move(new: Path, path: Path, names: Sequence[Path], gone: Sequence[Path] = ()) -> None:
    """Moves the files from `new` to `path`, and those `gone` away; if one cannot be moved, all that stood there stands there
    again."""
    old = _hidden(path, path.name, ".old")
    try:
        with ExitStack() as undo:
            for name in names:
                place, aside = path / name, old / name
                for folder in reversed([parent for parent in place.parents if not parent.exists()]):
                    folder.mkdir()
                    undo.callback(folder.rmdir)
                if os.path.lexists(place):
                    aside.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(place, aside)
                    undo.callback(os.replace, aside, place)
                    os.replace(new / name, place)
                else:
                    os.replace(new / name, place)
                    undo.callback(place.unlink)
            for name in gone:
                (old / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(path / name, old / name)
                undo.callback(os.replace, old / name, path / name)
            undo.pop_all()
            for name in gone:
                _remove_empty([path / parent for parent in name.parents[:-1]])
            shutil.rmtree(old, ignore_errors=True)
    finally:  # a file that could not be put back stays in `old`
        for folder in sorted((old, *old.rglob("*")), reverse=True):
            _remove_empty([folder])


def _swap(new: Path, path: Path) -> None:
    """Puts the folder `new` at `path`; if that fails, what stood there stands there again."""
    if not path.exists():
        new.rename(path)
        return
    old = _hidden(path.parent, path.name, ".old")
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
        if error.errno is None:  # all it says is a text, which a name would take the place of
            raise
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
