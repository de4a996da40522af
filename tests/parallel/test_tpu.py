"""Training steps compiled for TPUs that are not here: what they take, and that attention is splash, each kernel once."""

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
# Of self-attention, whose tokens are filled up to whole blocks, so that it has segments, and of cross-attention.
KERNELS = [f"splash_mha_{part}_residuals" for part in ("dkv_no", "dkv_segmented_no", "fwd", "fwd_segmented")]


@pytest.mark.tpu
@pytest.mark.parametrize(("kind", "gibibytes"), [("step2", 6.53), ("t2v", 28.9)])
def test_the_1_3b_trains_on_four_chips(kind: str, gibibytes: float):
    """Four examples on v5p:2x2x1, fsdp 4. Every chip holds a quarter of parameters and AdamW's state, and a batch; of
    temporaries what docs/PARALLEL.md says. No forward kernel stands there twice."""
    pytest.importorskip("libtpu")
    env = os.environ | {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1"}
    command = [sys.executable, "-m", "tests.parallel.compile_worker", kind, "v5p:2x2x1", '{"fsdp": 4}', "4"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    print(found)
    assert 3 * 4 * PARAMETERS / 4 < found["arguments"] < 3 * 4 * PARAMETERS / 4 * 1.02
    assert found["temporaries"] == pytest.approx(gibibytes * GIB, rel=0.05)
    assert found["arguments"] + found["temporaries"] < V5P
    assert found["kernels"] == dict.fromkeys(KERNELS, 1)
    assert found["collectives"]["all-gather"] > 0  # of the parameters, where they are used


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is not None, reason="would take libtpu's lock for this process")
def test_without_its_compiler():
    with pytest.raises(InputError, match="topology v5p:2x2x1: .*expected one that libtpu knows, and the extra `tpu`"):
        preflight.topology_devices("v5p:2x2x1")
