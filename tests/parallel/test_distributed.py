"""What the environment says of a run's processes; two of them together are in test_training.py."""

from __future__ import annotations

import jax
import pytest

from stage_jax.errors import InputError
from stage_jax.parallel import distributed

WHOLE = {"JAX_COORDINATOR_ADDRESS": "host:1234", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    found: list[dict] = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda **arguments: found.append(arguments))
    return found


def test_who_takes_part(calls: list[dict]):
    distributed.start({})
    distributed.start({"JAX_PROCESS_ID": ""})
    assert calls == []
    distributed.start(WHOLE)
    distributed.start({}, detect=True)
    assert calls == [{"coordinator_address": "host:1234", "num_processes": 2, "process_id": 1}, {}]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"JAX_PROCESS_ID": ""}, "without JAX_PROCESS_ID, expected all or none"),
        ({"JAX_PROCESS_ID": "2"}, "found JAX_PROCESS_ID=2 and JAX_NUM_PROCESSES=2, expected numbers"),
        ({"JAX_NUM_PROCESSES": "two"}, "JAX_NUM_PROCESSES=two"),
        ({"JAX_COORDINATOR_ADDRESS": "host"}, "found JAX_COORDINATOR_ADDRESS=host, expected host:port"),
        ({"JAX_COORDINATOR_ADDRESS": "1234"}, "expected host:port"),
    ],
)
def test_half_of_it_or_nonsense_is_refused(calls: list[dict], change: dict[str, str], message: str):
    with pytest.raises(InputError, match=message):
        distributed.start(WHOLE | change)
    assert calls == []


def test_what_jax_has_against_it_is_told(monkeypatch: pytest.MonkeyPatch):
    def fail() -> None:
        raise ValueError("no cluster\nfound")

    monkeypatch.setattr(jax.distributed, "initialize", fail)
    with pytest.raises(InputError, match="processes of the run: no cluster found"):
        distributed.start({}, detect=True)
