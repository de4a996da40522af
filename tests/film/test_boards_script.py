"""tools/boards.sh: which share of the stories the process of a cluster draws."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "boards.sh"
CLUSTERS = {
    "by hand": ({"SHARE": "3/8", "SLURM_NTASKS": "2", "SLURM_PROCID": "1"}, "3/8"),
    "Slurm": ({"SLURM_NTASKS": "8", "SLURM_PROCID": "5"}, "5/8"),
    "a TPU slice": ({"TPU_WORKER_HOSTNAMES": "10.0.0.2,10.0.0.3,10.0.0.4,10.0.0.5", "TPU_WORKER_ID": "2"}, "2/4"),
    "a TPU of one host": ({"TPU_WORKER_HOSTNAMES": "localhost", "TPU_WORKER_ID": "0"}, "0/1"),
}


def run(variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    named = {"SHARE", "SLURM_NTASKS", "SLURM_PROCID", "TPU_WORKER_HOSTNAMES", "TPU_WORKER_ID"}
    env = {name: value for name, value in os.environ.items() if name not in named} | variables | {"STAGE": "echo stage"}
    stories = ["a b.json", "c.json", "--out", "boards"]
    return subprocess.run(["sh", str(SCRIPT), *stories], env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("variables", "share"), CLUSTERS.values(), ids=CLUSTERS)
def test_each_process_draws_its_share(variables: dict[str, str], share: str) -> None:
    ran = run(variables)
    assert (ran.returncode, ran.stdout) == (0, f"stage board a b.json c.json --out boards --share {share}\n")


def test_a_process_that_nothing_numbers_draws_nothing() -> None:
    ran = run({})
    assert (ran.returncode, ran.stdout) == (2, "") and ran.stderr.count("\n") == 1 and "SHARE=K/N" in ran.stderr
