"""Meshes: what fits the devices, and who makes which rows of a batch."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from stage_jax.errors import InputError
from stage_jax.parallel.mesh import AXES, batch_share, current_mesh, host, make_mesh, platform, process_grid


def test_one_device():
    mesh = make_mesh({"data": -1, "fsdp": 1}, jax.devices()[:1])
    assert dict(mesh.shape) == {"data": 1, "fsdp": 1, "context": 1, "tensor": 1}
    assert current_mesh().empty and platform() == "cpu"
    with jax.set_mesh(mesh):
        assert current_mesh().axis_names == AXES and platform() == "cpu"


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"model": 2}, "found 'model', expected data, fsdp, context, tensor"),
        ({"data": 0}, "config.mesh.data: found 0, expected a whole number above 0"),
        ({"data": True}, "config.mesh.data: found True"),
        ({"data": -1, "fsdp": -1}, "found -1 more than once"),
        ({"data": 2}, "found data 2, expected a product of the 1 devices"),
        ({"data": -1, "tensor": 2}, "found data -1 x tensor 2, expected a product of the 1"),
    ],
)
def test_a_mesh_that_does_not_fit(sizes: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        make_mesh(sizes, jax.devices()[:1])


def test_a_host_that_jax_leaves_out_is_asked_for(monkeypatch: pytest.MonkeyPatch):
    assert host().platform == "cpu"
    there = jax.local_devices
    monkeypatch.setattr(jax, "local_devices", lambda backend: there(backend="cpu which is not there"))
    with pytest.raises(InputError, match=r"JAX_PLATFORMS: found cpu, expected cpu,cpu: weights pass through the host's memory"):
        host()


@pytest.mark.parametrize(
    ("processes", "shape", "shares"),
    [
        ([0, 0, 0, 0], (2, 1, 1, 2), [(0, 1)]),
        ([0, 0, 1, 1], (2, 2, 1, 1), [(0, 2), (1, 2)]),
        ([0, 0, 1, 1], (2, 1, 1, 2), [(0, 2), (1, 2)]),
        ([0, 1, 2, 3], (1, 2, 1, 2), [(0, 2), (0, 2), (1, 2), (1, 2)]),
        ([0, 1], (1, 1, 1, 2), [(0, 1), (0, 1)]),
    ],
)
def test_the_share_of_a_process(processes: list[int], shape: tuple[int, ...], shares: list[tuple[int, int]]):
    """Processes whose devices differ along other axes only make the same rows."""
    grid = np.array(processes).reshape(shape)
    assert [batch_share(grid, process) for process in sorted(set(processes))] == shares


def test_rows_that_do_not_follow_one_another_are_refused():
    with pytest.raises(InputError, match=r"process 0 holds rows \[0, 2\] of 4"):
        batch_share(np.array([0, 1, 0, 1]).reshape(4, 1, 1, 1), 0)


def test_the_grid_of_a_mesh():
    assert process_grid(make_mesh({}, jax.devices()[:1])).tolist() == [[[[0]]]]
