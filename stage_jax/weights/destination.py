"""Where a command may write: looked at before the work begins, so that hours of it are not lost at its end."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from stage_jax.errors import InputError


def check_destination(destination: Path, source: Path | None, size: int) -> Path:
    """The destination without links, for `files.atomic_folder`. InputError unless it is a new or an empty folder outside the
    source, if there is one, on a disk with room for `size` bytes."""
    real = Path(os.path.realpath(destination))
    if os.path.lexists(real) and (not real.is_dir() or any(real.iterdir())):
        raise InputError(f"{destination}: found something there already, expected a new or empty folder")
    if source is not None and real.is_relative_to(os.path.realpath(source)):
        raise InputError(f"{destination}: lies inside {source}, which it is made from")
    parent = next(parent for parent in (real, *real.parents) if parent.exists())
    if (free := shutil.disk_usage(parent).free) < size:
        raise InputError(f"{destination}: {size / 1e9:,.1f} GB are to be written, {free / 1e9:,.1f} GB are free there")
    return real
