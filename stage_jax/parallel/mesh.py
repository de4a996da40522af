"""The one mesh of devices, its axes, and which rows of a batch a process makes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh
from jaxtyping import Int

from stage_jax.errors import InputError

AXES = ("data", "fsdp", "context", "tensor")
"""data: copies of the parameters. fsdp: the batch, and the parameters too. context: tokens of a sequence. tensor: heads and
hidden channels."""
BATCH_AXES = ("data", "fsdp")


def make_mesh(sizes: Mapping[str, int], devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh over all `devices` (or all there are). sizes: of the axes that are longer than 1; -1, for one of them, takes what
    is left. InputError if they do not make up the number of devices."""
    devices = jax.devices() if devices is None else devices
    for axis, size in sizes.items():
        if axis not in AXES:
            raise InputError(f"config.mesh: found {axis!r}, expected {', '.join(AXES)}")
        if not isinstance(size, int) or isinstance(size, bool) or (size < 1 and size != -1):
            raise InputError(f"config.mesh.{axis}: found {size!r}, expected a whole number above 0, or -1 for what is left")
    if list(sizes.values()).count(-1) > 1:
        raise InputError("config.mesh: found -1 more than once, expected one axis that takes what is left")
    known = math.prod(size for size in sizes.values() if size != -1)
    shape = [len(devices) // known if sizes.get(axis) == -1 else sizes.get(axis, 1) for axis in AXES]
    if math.prod(shape) != len(devices):
        asked = " x ".join(f"{axis} {size}" for axis, size in sizes.items())
        raise InputError(f"config.mesh: found {asked or 'no axes'}, expected a product of the {len(devices)} devices")
    return jax.make_mesh(shape, AXES, devices=devices, axis_types=(AxisType.Auto,) * len(AXES))


def current_mesh() -> AbstractMesh:
    """The mesh of `jax.set_mesh`, also while a program is traced; empty where there is none."""
    return jax.sharding.get_abstract_mesh()


def platform() -> str:
    """What the program is made for: "tpu", "gpu" or "cpu". The devices of the mesh say it, which may not be here."""
    mesh = current_mesh()
    return jax.default_backend() if mesh.empty else mesh.abstract_device.platform


def host() -> jax.Device:
    """The processor beside the accelerators, for what is too large for one of them. InputError where JAX was told to leave it
    out."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        told = jax.config.jax_platforms
        raise InputError(f"JAX_PLATFORMS: found {told}, expected {told},cpu: weights pass through the host's memory") from None


def batch_parts(mesh: Mesh) -> int:
    """How many runs of rows a batch falls into."""
    return math.prod(mesh.shape[axis] for axis in BATCH_AXES)


def process_grid(mesh: Mesh) -> Int[np.ndarray, "data fsdp context tensor"]:
    """The process that each device of a mesh belongs to."""
    return np.array([device.process_index for device in mesh.devices.flat]).reshape(mesh.devices.shape)


def batch_share(grid: Int[np.ndarray, "data fsdp context tensor"], process: int) -> tuple[int, int]:
    """(index, count): a batch falls into `count` runs of rows, of which a process's devices hold the one at `index`; devices
    that differ only along other axes hold the same rows. grid: `process_grid`. InputError where they hold no single run, as on
    a mesh whose devices are not in the order of their processes."""
    places = grid.reshape(grid.shape[0] * grid.shape[1], -1)
    own = np.flatnonzero((places == process).any(axis=1)).tolist()
    first, count = own[0], len(own)
    if own != list(range(first, first + count)) or first % count or len(places) % count:
        raise InputError(f"config.mesh: process {process} holds rows {own} of {len(places)}, expected one run for each process")
    return first // count, len(places) // count
