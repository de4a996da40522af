"""What a training config must say, and which of it a run that has begun may still change."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from stage_jax import files
from stage_jax.errors import InputError

MAY_CHANGE = (
    "name", "mesh", "log_every", "checkpoint_every", "evaluate", "boards", "profile", "most_skipped", "peak_flops",
    "data.workers",
)  # fmt: skip
"""What the steps of a run do not depend on: values, and groups of them."""


@dataclass(frozen=True)
class Rule:
    """fits: whether a value may be. expected: what is, in words."""

    fits: Callable[[Any], bool]
    expected: str


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return (_is_whole(value) or isinstance(value, float)) and math.isfinite(value)


def _is_pattern(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(re.compile(value))
    except re.error:
        return False


def one_of(*names: str) -> Rule:
    return Rule(lambda value: value in names, f"{', '.join(names[:-1])} or {names[-1]}")


GROUP = Rule(lambda value: isinstance(value, ConfigDict), "a group of values")
NAME = Rule(lambda value: isinstance(value, str) and value != "", "a name")
COUNT = Rule(lambda value: _is_whole(value) and value > 0, "a whole number above 0")
WHOLE = Rule(lambda value: _is_whole(value) and value >= 0, "a whole number, 0 or more")
NUMBER = Rule(_is_number, "a number")
POSITIVE = Rule(lambda value: _is_number(value) and value > 0, "a number above 0")
SHARE = Rule(lambda value: _is_number(value) and 0 <= value <= 1, "a number from 0 to 1")
BELOW_ONE = Rule(lambda value: _is_number(value) and 0 <= value < 1, "a number from 0 to below 1")
PATTERN = Rule(_is_pattern, "a pattern of parameters' names")
SWITCH = Rule(lambda value: isinstance(value, bool), "True or False")

Rules = Mapping[str, Rule]
EVERY_RUN: Rules = {
    "optimizer": GROUP, "data": GROUP, "name": NAME, "task": NAME, "model": NAME, "data.dir": NAME, "seed": WHOLE,
    "steps": COUNT, "log_every": COUNT, "checkpoint_every": COUNT, "optimizer.name": NAME, "optimizer.lr": NUMBER,
    "optimizer.warmup": NUMBER, "optimizer.flat": NUMBER, "optimizer.final": NUMBER, "optimizer.weight_decay": NUMBER,
    "optimizer.clip": NUMBER, "optimizer.b2": NUMBER,
}  # fmt: skip
IF_GIVEN: Rules = {
    "ema": SHARE, "accumulate": COUNT, "frozen": PATTERN, "init": NAME, "most_skipped": COUNT, "peak_flops": POSITIVE,
    "dtype": one_of("float32", "bfloat16"), "remat": SWITCH, "optimizer.decay": one_of("linear", "cosine"),
    "mesh": GROUP, "data.workers": WHOLE, "data.history": WHOLE, "lora": GROUP,
    "profile": GROUP, "profile.first": WHOLE, "profile.count": COUNT,
    "evaluate": GROUP, "evaluate.every": COUNT, "evaluate.split": NAME, "evaluate.batches": COUNT, "evaluate.bands": COUNT,
    "boards": GROUP, "boards.every": COUNT, "boards.split": NAME, "boards.stories": COUNT,
}  # fmt: skip


def check_config(config: ConfigDict, workdir: Path) -> None:
    """InputError on values that every run needs and that are missing or of the wrong kind. A run is resumed with the config
    that it was started with, but for `MAY_CHANGE`, or not at all: InputError says what differs."""
    check_values(config, EVERY_RUN)
    check_given(config, IF_GIVEN)
    for group in ("profile", "evaluate", "boards"):
        if config.get(group) is not None:
            check_values(config, {name: rule for name, rule in IF_GIVEN.items() if name.startswith(f"{group}.")})
    if config.optimizer.name == "muon":
        check_values(config, {"optimizer.adam_only": PATTERN})
    if config.optimizer.name == "sgd":
        check_values(config, {"optimizer.momentum": SHARE})
    if config.get("evaluate") is not None and config.evaluate.every % config.log_every:
        found, expected = config.evaluate.every, f"a multiple of log_every, {config.log_every}"
        raise InputError(f"config.evaluate.every: found {found}, expected {expected}")
    path = workdir / "config.json"
    if path.exists():
        _check_same(path, _leaves(_read_kept(path)), _leaves(json.loads(config_text(config))))


def check_values(config: ConfigDict, rules: Rules) -> None:
    """InputError on the first value that is missing or does not fit. Names are dotted."""
    for name, rule in rules.items():
        group, last = _group_of(config, name)
        if group is None or last not in group:
            raise InputError(f"config.{name}: not found, expected {rule.expected}")
        if not rule.fits(group[last]):
            raise InputError(f"config.{name}: found {group[last]!r}, expected {rule.expected}")


def check_given(config: ConfigDict, rules: Rules) -> None:
    """The same for values that may be left out or None."""
    for name, rule in rules.items():
        group, last = _group_of(config, name)
        if group is not None and group.get(last) is not None:
            check_values(config, {name: rule})


def _group_of(config: ConfigDict, name: str) -> tuple[ConfigDict | None, str]:
    """The group that a value stands in, None if there is none, and its name in that."""
    *groups, last = name.split(".")
    for group in groups:
        config = config.get(group)
        if not isinstance(config, ConfigDict):
            return None, last
    return config, last


def keep_config(config: ConfigDict, workdir: Path) -> None:
    """Writes the config beside its run."""
    workdir.mkdir(parents=True, exist_ok=True)
    files.write_text(workdir / "config.json", config_text(config))


def config_text(config: ConfigDict) -> str:
    return config.to_json_best_effort(indent=1, sort_keys=True)


def _read_kept(path: Path) -> dict[str, Any]:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}), expected the config that this run was started with") from None
    if not isinstance(kept, dict):
        raise InputError(f"{path}: expected the config that this run was started with, a JSON object")
    return kept


def _check_same(path: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    def told(value: Any) -> str:
        return "nothing" if value is None else json.dumps(value, ensure_ascii=False)

    names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name) and not _may_change(name))
    if names:
        differ = "; ".join(f"{name} was {told(old.get(name))} and is {told(new.get(name))}" for name in names)
        raise InputError(f"{path}: this run was started with another config: {differ}")


def _may_change(name: str) -> bool:
    return any(name == free or name.startswith(f"{free}.") for free in MAY_CHANGE)


def _leaves(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of nested groups by dotted name; one that is None is as good as not there."""
    leaves: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            leaves |= _leaves(value, f"{prefix}{name}.")
        elif value is not None:
            leaves[prefix + name] = value
    return leaves
