"""The pickle inside a torch file, read as data: no class is looked up and nothing is called.

A pickle is a program for a small stack machine. This one knows what `torch.save` writes of a state dict: dictionaries, numbers,
texts, and tensors as (storage, offset, shape, strides); whatever else a pickle can ask for is refused by its name.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from stage_jax.errors import InputError
from stage_jax.weights.header import are_sizes
from stage_jax.weights.table import Shape, listed, printable

WRAPPERS = ("state_dict", "model_state", "model")  # under which some programs put a whole state dict
# torch's storages and the words of `header.BITS` for what is in them.
STORAGES = {
    "torch.FloatStorage": "F32", "torch.HalfStorage": "F16", "torch.BFloat16Storage": "BF16", "torch.DoubleStorage": "F64",
    "torch.LongStorage": "I64", "torch.IntStorage": "I32", "torch.ShortStorage": "I16", "torch.CharStorage": "I8",
    "torch.ByteStorage": "U8", "torch.BoolStorage": "BOOL", "torch.ComplexFloatStorage": "C64",
    "torch.UntypedStorage": "U8", "torch.storage.UntypedStorage": "U8",
}  # fmt: skip
_DICT, _TENSOR, _PARAMETER = "collections.OrderedDict", "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter"
_NUMBERS = ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT")
_TEXTS = ("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8")
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclass(frozen=True)
class Tensor:
    """storage: the name of its data in the archive. size: of the storage. size, offset and strides count elements."""

    storage: str
    dtype: str
    size: int
    offset: int
    shape: Shape
    strides: Shape

    @property
    def span(self) -> int:
        """Elements of the storage from its first one to its last."""
        return 1 + sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True)) if prod(self.shape) else 0


class _Global(NamedTuple):
    name: str


class _Storage(NamedTuple):
    name: str
    dtype: str
    size: int


def read_state_dict(data: bytes, where: Path) -> dict[str, Tensor]:
    """The tensors of a state dict, or of one that lies alone under one of `WRAPPERS`, by name. InputError, one line, for
    everything that is none, and for every class or function that a state dict does not need."""
    try:
        found = _run(data, where)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{where}: its data.pkl is not a pickle of a state dict ({printable(str(error))})") from None
    if isinstance(found, dict):
        found = next((found[name] for name in WRAPPERS if isinstance(found.get(name), dict)), found)
    if not isinstance(found, dict) or not found:
        raise InputError(f"{where}: holds no state dict, expected names with tensors")
    if wrong := [str(name) for name, value in found.items() if not (isinstance(name, str) and isinstance(value, Tensor))]:
        raise InputError(f"{where}: not a state dict, its entries {listed(wrong[:3], ', ')} are no tensors with names")
    return found


def _run(data: bytes, where: Path) -> Any:
    """What the pickle leaves on its stack. Keys are texts and numbers only: the hash of a deep tuple would end the process."""
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def since_mark() -> list[Any]:
        start = marks.pop()
        found = stack[start:]
        del stack[start:]
        return found

    for op, argument, _ in pickletools.genops(data):
        name = op.name
        if name in ("PROTO", "FRAME"):
            continue
        if name == "STOP":
            return stack[-1]
        if name in _NUMBERS or name in _TEXTS:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name == "MARK":
            marks.append(len(stack))
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name in ("EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE"):
            stack.append({"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}[name]())
        elif name == "TUPLE":
            stack.append(tuple(since_mark()))
        elif name in _TUPLES:
            stack[-_TUPLES[name] :] = [tuple(stack[-_TUPLES[name] :])]
        elif name in ("APPEND", "APPENDS"):
            items = since_mark() if name == "APPENDS" else [stack.pop()]
            _of(list, stack[-1]).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = since_mark() if name == "SETITEMS" else [stack.pop(-2), stack.pop()]
            pairs = dict(zip(*(map(_key, items[::2]), items[1::2]), strict=True))
            _of(dict, stack[-1]).update(pairs)
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            both = argument.split(" ", 1) if name == "GLOBAL" else [stack.pop(-2), stack.pop()]
            stack.append(_global(".".join(map(str, both)), where))
        elif name == "REDUCE":
            arguments = _of(tuple, stack.pop())
            stack.append(_reduced(_of(_Global, stack.pop()), arguments))
        elif name == "BUILD":  # the _metadata (versions of modules) that torch hangs on a state dict
            stack.pop()
            _of(dict, stack[-1])
        elif name == "BINPERSID":
            stack.append(_storage(stack.pop()))
        else:
            raise ValueError(f"its instruction {name} is none that state dicts need")
    raise ValueError("it does not end")


def _of(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise ValueError(f"found a {type(value).__name__} where it needs a {kind.__name__}")
    return value


def _key(value: Any) -> str | int:
    if not isinstance(value, str | int):
        raise ValueError(f"a key is a {type(value).__name__}")
    return value


def _global(name: str, where: Path) -> _Global:
    if name not in (_DICT, _TENSOR, _PARAMETER, *STORAGES):
        raise InputError(f"{where}: its pickle asks for {printable(name)}, expected tensors alone; nothing of it was run")
    return _Global(name)


def _reduced(function: _Global, arguments: tuple[Any, ...]) -> Any:
    """What a call would make."""
    made: dict[str, Callable[..., Any]] = {_DICT: dict, _TENSOR: _tensor, _PARAMETER: _parameter}
    if function.name not in made or (function.name == _DICT and arguments):
        raise ValueError(f"it calls {function.name} with {len(arguments)} arguments")
    return made[function.name](*arguments)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    storage = _of(_Storage, storage)
    sizes = [*_of(tuple, shape)], [*_of(tuple, strides)], [offset]
    if not all(map(are_sizes, sizes)) or len(shape) != len(strides):
        raise ValueError("a tensor has an offset, a shape or strides that cannot be")
    tensor = Tensor(storage.name, storage.dtype, storage.size, offset, shape, strides)
    if tensor.span > 0 and (offset + tensor.span > storage.size or prod(shape) > storage.size):
        raise ValueError(f"a tensor of shape {list(shape)} reaches beyond its storage of {storage.size} elements")
    return tensor


def _parameter(tensor: Any, *_: Any) -> Tensor:
    return _of(Tensor, tensor)


def _storage(identity: Any) -> _Storage:
    """Of torch's ("storage", type, name, device, number of elements)."""
    kind, storage, name, _, size = _of(tuple, identity)
    dtype = STORAGES.get(_of(_Global, storage).name)
    if kind != "storage" or dtype is None or not isinstance(name, str) or not are_sizes([size]):
        raise ValueError("a storage without type, name or size")
    return _Storage(name, dtype, size)
