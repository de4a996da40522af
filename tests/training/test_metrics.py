"""What a run writes of itself, read by another's reader where there is one."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import jax
import pytest
from ml_collections import ConfigDict

from stage_jax.models.work import Work
from stage_jax.parallel import peaks
from stage_jax.parallel.peaks import peak_flops
from stage_jax.training import metrics, summaries
from stage_jax.training.metrics import JsonLines, Monitor
from stage_jax.training.summaries import MultiWriter, SummaryWriter


def test_lines_drop_what_a_lost_try_wrote(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    lines = JsonLines(path, 0)
    for step in (2, 4, 6):
        lines.write_scalars(step, {"seconds": 1.5 * step, "loss": float("nan") if step == 2 else float(step)})
    with path.open("a") as file:
        file.write('{"step": 8')  # cut short by a kill
    resumed = JsonLines(path, 4)
    assert resumed.last == {"step": 4, "seconds": 6.0, "loss": 4.0}
    resumed.write_scalars(6, {"seconds": 8.0, "loss": 0.5})
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["step"], line["seconds"], line["loss"]) for line in found] == [(2, 3.0, None), (4, 6.0, 4.0), (6, 8.0, 0.5)]


def test_rates_time_left_and_utilisation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Of a run that goes on at step 10 after 100 s: one step a second, then two; a report counts its own steps alone."""
    clock, told = iter([0.0, 2.0, 4.0]), []
    monkeypatch.setattr(metrics.time, "monotonic", lambda: next(clock))
    config = ConfigDict({"log_every": 4, "steps": 20, "peak_flops": 5e3 / jax.device_count()})
    lines = JsonLines(tmp_path / "metrics.jsonl", 10)
    monitor = Monitor(config, MultiWriter([lines]), told.append, 10, 100.0)
    for step in range(11, 17):  # the device is asked when the next step has been given to it
        found = {"loss": float(step), "skipped": 0, "skipped_in_a_row": 0}
        monitor(step, found, Work(tokens=30, flops=1500.0))
        assert len(told) == (step > 12)
    monitor.flush()
    assert told == [
        "step 12/20  loss 12.0000  1.00 steps/s  30 tokens/s  30.0% MFU  0.1 min left",
        "step 16/20  loss 16.0000  2.00 steps/s  60 tokens/s  60.0% MFU  0.0 min left",
    ]
    written = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    names = ("step", "seconds", "steps_per_second", "tokens_per_second", "mfu")
    assert [[line[name] for name in names] for line in written] == [[12, 102.0, 1.0, 30.0, 0.3], [16, 104.0, 2.0, 60.0, 0.6]]


def test_event_file_is_the_one_that_tensorboard_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The bytes that TensorBoard 2.21's own EventFileWriter wrote of the same events (tests/data/events.tfevents)."""
    monkeypatch.setattr(summaries.time, "time", lambda: 1234567890.5)
    writer = MultiWriter([SummaryWriter(tmp_path, 300)])
    writer.write_scalars(301, {"loss": 0.25, "eval_loss_0.00_0.50": 3e-5})
    writer.write_scalars(100_000, {"loss": -1.5})
    writer.flush()
    (path,) = tmp_path.iterdir()
    golden = Path(__file__).parents[1] / "data" / "events.tfevents"
    assert path.name.startswith("events.out.tfevents.1234567890.") and path.read_bytes() == golden.read_bytes()
    (length,) = struct.unpack("<Q", golden.read_bytes()[:8])
    assert golden.read_bytes()[12 + length - 13 : 12 + length] == b"brain.Event:2"
    writer.close()


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        ("cpu", None, None), ("cpu", 1e12, 1e12), ("TPU v5p", None, 459e12), ("TPU v5", None, 459e12),
        ("TPU v6 lite", None, 918e12), ("NVIDIA H200", None, 989.5e12), ("NVIDIA H100 PCIe", None, None),
        ("NVIDIA H100 80GB HBM3", None, 989.5e12), ("NVIDIA A100-SXM4-80GB", 3e14, 3e14),
    ],
)  # fmt: skip
def test_peaks(kind: str, given: float | None, expected: float | None, monkeypatch: pytest.MonkeyPatch):
    class Device:
        device_kind = kind

    monkeypatch.setattr(peaks.jax, "local_devices", lambda: [Device])
    assert peak_flops(given) == expected
