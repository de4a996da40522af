"""A small training run in a process of its own, which may kill itself.

    python worker.py CONFIG.json WORKDIR RESULT.npz [loop STEP | write STEP]

`loop STEP`: SIGKILL right after that step was reported, before its checkpoint, if it has one. `write STEP`: SIGKILL while the
checkpoint of that step is on its way to the disk, its data written and not yet named. RESULT holds the whole final state.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict
from orbax.checkpoint._src.path import atomicity

from stage_jax.training.train import train
from tests.training.sizes import small_zoo


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main(config: str, workdir: str, result: str, kind: str = "", step: str = "") -> None:
    small_zoo()

    def say(line: str) -> None:
        if kind == "loop" and line.startswith(f"step {step}/"):
            die()

    if kind == "write":
        finalize = atomicity.AtomicRenameTemporaryPath.finalize

        async def cut(self, *args, **kwargs):
            if self.get_final().name == step:
                die()
            return await finalize(self, *args, **kwargs)

        atomicity.AtomicRenameTemporaryPath.finalize = cut

    state = train(ConfigDict(json.loads(Path(config).read_text())), Path(workdir), say)
    leaves = jax.tree_util.tree_leaves_with_path(state)
    np.savez(result, **{jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves})


if __name__ == "__main__":
    main(*sys.argv[1:])
