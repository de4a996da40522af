"""What a program will take on devices that are not here: compiled for a topology, sized by the compiler.

Needs the compiler of those devices and not the devices: for TPUs the extra `tpu` (libtpu). libtpu takes a lock of the machine,
and a check inside it that fails ends the process: compile one program in a process of its own.
"""

from __future__ import annotations

import collections
import dataclasses
import re
from typing import Any

import jax
from jax.experimental import topologies

from stage_jax.errors import InputError

_COLLECTIVE = re.compile(r"= [^=]*? (all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute)(?:-start)?\(")
_KERNEL = re.compile(r'%(\w+)[\w.]* = [^\n]*custom_call_target="tpu_custom_call"')


@dataclasses.dataclass(frozen=True)
class Footprint:
    """Of one device. arguments, temporaries: bytes; what is donated counts with the arguments alone. Their sum has to fit
    into the device's memory: the compiler does not refuse what does not. collectives, kernels (of Pallas): how many of each
    name stand in the program, those of a loop once."""

    arguments: int
    temporaries: int
    collectives: dict[str, int]
    kernels: dict[str, int]


def topology_devices(name: str) -> list[jax.Device]:
    """The devices of a TPU topology such as "v5p:2x2x1". InputError where it, or its compiler, is not known."""
    try:
        return topologies.get_topology_desc(platform="tpu", topology_name=name).devices
    except (RuntimeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"topology {name}: {reason}; expected one that libtpu knows, and the extra `tpu`") from None


def abstract(tree: Any, shardings: Any) -> Any:
    """The shapes of a tree, on their shardings: what a program is lowered with where there are no arrays."""
    return jax.tree.map(lambda leaf, s: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=s), tree, shardings)


def footprint(compiled: jax.stages.Compiled) -> Footprint:
    memory, text = compiled.memory_analysis(), compiled.as_text()
    collectives, kernels = (dict(collections.Counter(pattern.findall(text))) for pattern in (_COLLECTIVE, _KERNEL))
    return Footprint(memory.argument_size_in_bytes, memory.temp_size_in_bytes, collectives, kernels)
