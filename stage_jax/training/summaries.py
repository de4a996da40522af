"""TensorBoard's event files, written without TensorFlow, behind CLU's interface of metric writers.

An event file is a TFRecord file of `Event` messages (tensorflow/core/util/event.proto): of each the length, a checksum of that,
the bytes, and a checksum of those.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import time
import types
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from stage_jax import files

# CLU's package loads TensorFlow for a writer of its own, which nothing here uses: while it loads, this stands in its place.
_THEIRS = "clu.metric_writers.tf.summary_writer"
_EMPTY = types.ModuleType(_THEIRS)
_EMPTY.SummaryWriter = None
sys.modules.setdefault(_THEIRS, _EMPTY)
from clu.metric_writers import MetricWriter, MultiWriter  # noqa: E402

if sys.modules[_THEIRS] is _EMPTY:
    del sys.modules[_THEIRS]

__all__ = ["MetricWriter", "MultiWriter", "ScalarWriter", "SummaryWriter"]

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types of protobuf
START = 1  # SessionLog.SessionStatus: TensorBoard forgets what older files say of this step and later ones


class ScalarWriter(MetricWriter):
    """A writer of numbers alone, which is all that a run writes."""

    def _refuse(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError(f"{type(self).__name__} writes numbers")

    write_summaries = write_images = write_videos = write_audios = write_texts = write_histograms = write_hparams = _refuse


class SummaryWriter(ScalarWriter):
    """One event file in `folder`, of a run that goes on from `step`. OSError names the file."""

    def __init__(self, folder: Path, step: int = 0):
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}"
        self._path = folder / name
        with files.named_errors(self._path):
            self._file = self._path.open("ab")
        self._write(_field(3, BYTES, b"brain.Event:2"))
        self._write(_field(2, VARINT, step) + _field(7, BYTES, _field(1, VARINT, START)))

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        values = (_field(1, BYTES, name.encode()) + _field(2, FIXED32, float(value)) for name, value in scalars.items())
        self._write(_field(2, VARINT, step) + _field(5, BYTES, b"".join(_field(1, BYTES, value) for value in values)))

    def flush(self) -> None:
        with files.named_errors(self._path):
            self._file.flush()

    def close(self) -> None:
        with files.named_errors(self._path):
            self._file.close()

    def _write(self, event: bytes) -> None:
        data = _field(1, FIXED64, time.time()) + event
        length = struct.pack("<Q", len(data))
        with files.named_errors(self._path):
            self._file.write(length + _masked_crc(length) + data + _masked_crc(data))


def _field(number: int, wire: int, value: Any) -> bytes:
    """One field of a protobuf message; numbers are not negative."""
    tag = _varint(number << 3 | wire)
    if wire == VARINT:
        return tag + _varint(value)
    if wire == BYTES:
        return tag + _varint(len(value)) + value
    return tag + struct.pack("<d" if wire == FIXED64 else "<f", value)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _masked_crc(data: bytes) -> bytes:
    """CRC-32C, rotated and shifted as TFRecord has it."""
    crc, table = 0xFFFFFFFF, _crc_table()
    for byte in data:
        crc = crc >> 8 ^ int(table[(crc ^ byte) & 0xFF])
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


@cache
def _crc_table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ np.uint32(0x82F63B78), table >> 1)
    return table
