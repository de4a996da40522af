"""Training steps compiled for TPUs that are not here: they fit, and no forward kernel of attention runs twice."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stage_jax.errors import InputError
from stage_jax.parallel import preflight

ROOT = Path(__file__).parents[2]
GIB = 1 << 30
V5P = 95 * GIB
PARAMETERS = 1_418_996_800


@pytest.mark.tpu
@pytest.mark.parametrize(("kind", "most"), [("step2", 8), ("t2v", 32)])
def test_the_1_3b_trains_on_four_chips(kind: str, most: int):
    """Four examples on v5p:2x2x1, fsdp 4. Every chip holds a quarter of parameters and AdamW's state, and a batch."""
    pytest.importorskip("libtpu")
    env = os.environ | {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1"}
    command = [sys.executable, "-m", "tests.parallel.compile_worker", kind, "v5p:2x2x1", '{"fsdp": 4}', "4"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    print(found)
    assert 3 * 4 * PARAMETERS / 4 < found["arguments"] < 3 * 4 * PARAMETERS / 4 * 1.02
    assert found["temporaries"] < most * GIB and found["arguments"] + found["temporaries"] < V5P
    assert found["kernels"] == 4  # self- and cross-attention, forward and backward


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is not None, reason="would take libtpu's lock for this process")
def test_without_its_compiler():
    with pytest.raises(InputError, match="topology v5p:2x2x1: .*expected one that libtpu knows, and the extra `tpu`"):
        preflight.topology_devices("v5p:2x2x1")
