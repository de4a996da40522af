"""Configs: a Python file with get_config(), and the values of it that the command line changes."""

from __future__ import annotations

import ast
import traceback
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from stage_jax.errors import InputError
from stage_jax.story.schema import near

PREFIX = "--config."


def load_config(config: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """The config of "file.py" or "file.py:arg", changed by arguments such as --config.optimizer.lr=1e-3, then locked.

    Runs the file, as its caller means it to, and calls its get_config(arg). A value takes the type of the one that it
    replaces; a flag without a value is True. Raises InputError for a file or an argument that does not fit.
    """
    file, colon, argument = config.partition(":")
    loaded = run_file(Path(file), "get_config", [argument] if colon else [])
    if not isinstance(loaded, ConfigDict):
        found = type(loaded).__name__
        raise InputError(f"{file}: get_config returned a {found}, expected an ml_collections.ConfigDict")
    for dotted, text in _pairs(overrides):
        _override(loaded, dotted, text)
    return loaded.lock()


def run_file(file: Path, function: str, arguments: Sequence[str] = ()) -> Any:
    """What a function of a Python file returns. InputError, with the line, for whatever goes wrong in the file."""
    try:
        source = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}), expected a config in Python") from None
    module = types.ModuleType("config")
    module.__file__ = str(file)
    try:
        exec(compile(source, str(file), "exec"), module.__dict__)
        if not callable(getattr(module, function, None)):
            raise InputError(f"{file}: found no {function}, expected a function of that name")
        return getattr(module, function)(*arguments)
    except SyntaxError as error:
        raise InputError(f"{error.filename or file}:{error.lineno}: {error.msg}, expected a config in Python") from None
    except InputError:
        raise
    except Exception as error:  # whatever a person's file does wrong
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(file)]
        raise InputError(f"{file}:{lines[-1] if lines else 1}: {type(error).__name__}: {error}") from error


def _pairs(arguments: Sequence[str]) -> list[tuple[str, str | None]]:
    """--config.a=1 and --config.a 1 as (a, 1); a flag that nothing follows as (a, None)."""
    pairs: list[tuple[str, str | None]] = []
    for argument in arguments:
        if argument.startswith(PREFIX):
            dotted, equals, text = argument.removeprefix(PREFIX).partition("=")
            pairs.append((dotted, text if equals else None))
        elif pairs and pairs[-1][1] is None and not argument.startswith("--"):
            pairs[-1] = (pairs[-1][0], argument)
        else:
            raise InputError(f"unknown argument {argument}, expected {PREFIX}NAME=VALUE")
    return pairs


def _override(config: ConfigDict, dotted: str, text: str | None) -> None:
    *parents, name = dotted.split(".")
    node, flag = config, PREFIX + dotted
    for depth, parent in enumerate([*parents, name], 1):
        if not isinstance(node, ConfigDict):
            value = ".".join(parents[: depth - 1])
            raise InputError(f"{flag}: {value} is a value, expected a group that has {parent!r} in it")
        if parent not in node:
            raise InputError(f"{flag}: found no {parent!r} in the config, expected {near(parent, sorted(node.keys()))}")
        if depth <= len(parents):
            node = node[parent]
    if isinstance(node[name], ConfigDict):
        raise InputError(f"{flag}: is a group of values, expected one of {', '.join(sorted(node[name].keys()))} in it")
    with node.ignore_type():  # a float may take the place of None
        node[name] = _typed(text, node.get_type(name), flag)


def _typed(text: str | None, kind: type, flag: str) -> Any:
    """`text` as a value of the type that the config has there."""
    if kind is str:
        return _given(text, flag, "a string")
    words = {"true": True, "false": False}
    if kind is bool:
        if text is not None and text.lower() not in words:
            raise InputError(f"{flag}: found {text!r}, expected true or false")
        return text is None or words[text.lower()]
    text = _given(text, flag, f"a value of type {kind.__name__}")
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = text
    if kind is type(None):
        return words.get(text.lower(), value)
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind in (tuple, list) and isinstance(value, tuple | list):
        return kind(value)
    if type(value) is not kind:
        raise InputError(f"{flag}: found {text!r}, expected a value of type {kind.__name__}")
    return value


def _given(text: str | None, flag: str, expected: str) -> str:
    if text is None:
        raise InputError(f"{flag}: found no value, expected {expected}")
    return text
