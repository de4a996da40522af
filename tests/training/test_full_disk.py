"""A disk that fills while a run trains, really: one line, the last checkpoint stays, and with room again it goes on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.full_disk_worker import NO_DISK

ROOT = Path(__file__).parents[2]
CONFIG = """
from tests.training.toy import toy_config

def get_config():
    return toy_config(9)
"""
PAGE = 1 << 12


@pytest.mark.skipif(shutil.which("unshare") is None, reason="a small disk of its own needs unshare")
@pytest.mark.parametrize("left", [0, 10 * PAGE])
def test_a_full_disk_is_told_in_a_line_and_the_last_checkpoint_stays(tmp_path: Path, left: int):
    """Of nothing left and of room for some of a checkpoint: Orbax fails in different places."""
    disk, config = tmp_path / "disk", tmp_path / "config.py"
    disk.mkdir()
    config.write_text(CONFIG)
    command = ["unshare", "--map-root-user", "--mount", sys.executable, "-m", "tests.training.full_disk_worker"]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, disk, config, str(left)], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    if done.returncode == NO_DISK or "unshare" in done.stderr:
        pytest.skip("nothing may be mounted here")
    assert done.stderr == f"stage: {disk / 'run' / 'checkpoints'}: No space left on device\n" and done.returncode == 0
    full, again = json.loads(done.stdout.splitlines()[-1])
    assert full == {"code": 2, "checkpoints": [3], "model": False}
    assert again == {"code": 0, "checkpoints": [6, 9], "model": True}
    assert "steps 3 to 9" in done.stdout and "the checkpoint of step 6 was never finished and is not used" in done.stdout
