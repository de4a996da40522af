"""Runs of the real recipes through the whole loop, in a process of its own with the devices and the processes that it is given.

    python -m tests.training.mesh_worker RUNS.json

RUNS: a list of {workdir, config, small}, done one after the other; a parameter of fewer than `small` bytes is not spread over
devices. Beside its workdir each leaves WORKDIR.npz: what it trained, the average of that, and as "spread" how many parameters
its first device does not hold whole.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import jax
import numpy as np
from absl import flags
from ml_collections import ConfigDict

from stage_jax.models import zoo
from stage_jax.parallel import distributed, rules
from stage_jax.training.train import train
from tests.generate import videos
from tests.training import sizes


def main(runs: Path) -> None:
    flags.FLAGS.mark_as_parsed()
    jax.config.update("jax_default_matmul_precision", "highest")
    sizes.small_zoo()
    zoo.VAES["test-wide"] = dataclasses.replace(sizes.SHALLOW, base=8)  # channels for eight devices
    zoo.DITS["test-flf2v"] = dataclasses.replace(videos.FORMS["flf2v-clip"], scan_layers=True)
    for told in json.loads(runs.read_text()):
        rules.SMALL = told["small"]
        state = train(ConfigDict(told["config"]), Path(told["workdir"]), lambda line: None)
        spread = sum(array.addressable_shards[0].data.size < array.size for array in state.params.values())
        weights = {"params": distributed.on_host(state.params), "ema": distributed.on_host(state.ema)}
        if distributed.is_first():
            arrays = {f"{kind} {path}": value for kind, params in weights.items() for path, value in params.items()}
            np.savez(f"{told['workdir']}.npz", spread=spread, **arrays)


if __name__ == "__main__":
    distributed.start()
    main(Path(sys.argv[1]))
