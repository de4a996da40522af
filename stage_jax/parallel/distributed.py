"""Several processes as one run: started alike on every host, each with its own devices."""

from __future__ import annotations

import os
from collections.abc import Mapping

import jax
from jax.experimental import multihost_utils
from jaxtyping import Array, Shaped

from stage_jax.errors import InputError
from stage_jax.parallel.mesh import host

COORDINATOR, COUNT, INDEX = NAMES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")


def start(environment: Mapping[str, str] = os.environ, *, detect: bool = False) -> None:
    """Joins the other processes of the run, before anything asks for devices; does nothing in a run of one process.

    The environment says who they are: JAX_COORDINATOR_ADDRESS (host:port of process 0), JAX_NUM_PROCESSES and JAX_PROCESS_ID
    (from 0). detect: else ask JAX, which knows TPU pods, Slurm, Open MPI and Kubernetes. InputError where the environment says
    half of it or nonsense, or the others are not found.
    """
    told = {name: environment[name] for name in NAMES if environment.get(name)}
    if not told and not detect:
        return
    arguments = _arguments(told) if told else {}
    try:
        jax.distributed.initialize(**arguments)
    except (ValueError, RuntimeError) as error:
        raise InputError(f"processes of the run: {' '.join(str(error).split())}") from None


def _arguments(told: Mapping[str, str]) -> dict[str, str | int]:
    if missing := [name for name in NAMES if name not in told]:
        raise InputError(f"environment: found {', '.join(told)} without {', '.join(missing)}, expected all or none of them")
    count, index = told[COUNT], told[INDEX]
    if not (count.isdecimal() and index.isdecimal() and int(index) < int(count)):
        raise InputError(f"environment: found {INDEX}={index} and {COUNT}={count}, expected numbers, one below the other")
    if not told[COORDINATOR].rpartition(":")[2].isdecimal() or ":" not in told[COORDINATOR]:
        raise InputError(f"environment: found {COORDINATOR}={told[COORDINATOR]}, expected host:port")
    return {"coordinator_address": told[COORDINATOR], "num_processes": int(count), "process_id": int(index)}


def is_first() -> bool:
    """Whether this process is the one that writes what there is one of."""
    return jax.process_index() == 0


def on_host(params: Mapping[str, Array]) -> dict[str, Array]:
    """Arrays that this process can read whole; what other processes hold a part of is copied into the host's memory. All
    processes have to call it."""
    return {name: value if value.is_fully_addressable else _gathered(value) for name, value in params.items()}


def _gathered(value: Shaped[Array, "*n"]) -> Shaped[Array, "*n"]:
    return jax.device_put(multihost_utils.process_allgather(value, tiled=True), host())
