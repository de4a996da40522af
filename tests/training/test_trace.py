"""A profile of the steps that were asked for."""

from __future__ import annotations

from pathlib import Path

import jax
import pytest

from stage_jax.training import train as loop
from tests.training.toy import ToyTask, toy_config


def test_the_steps_that_were_asked_for_are_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loop, "make_task", ToyTask)
    loop.train(toy_config(8, profile={"first": 3, "count": 2}), tmp_path / "run", lambda line: None)
    (path,) = (tmp_path / "run" / "profile").rglob("*.xplane.pb")
    planes = jax.profiler.ProfileData.from_file(str(path)).planes
    events = [event for plane in planes for line in plane.lines for event in line.events if "train_step" in event.name]
    ends = [(event.start_ns, event.start_ns + event.duration_ns) for event in events]
    outer = [(start, end) for start, end in ends if not any(a < start and end < b for a, b in ends)]  # a call within a call
    assert len(outer) == 2
    loop.train(toy_config(2), tmp_path / "none", lambda line: None)
    assert not (tmp_path / "none" / "profile").exists()
