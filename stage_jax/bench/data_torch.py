"""The peer of `stage bench data`, torch's DataLoader: python -m stage_jax.bench.data_torch FOLDER. Needs the extra `torch`.

Its data set reads the same fields of the same records and cuts windows by the same function, in an order of its own.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch

from data_pipeline.loader import random_window
from data_pipeline.records import open_records
from stage_jax.bench.contest import serve
from stage_jax.bench.data import BATCHES, Task


class Windows(torch.utils.data.Dataset):
    """A random clip window of every story."""

    def __init__(self, folder: Path, frames: int):
        self.records, self.frames = open_records(folder / "toy", "train", ("clips", "shots")), frames

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> torch.Tensor:
        rng = np.random.default_rng(torch.randint(1 << 62, ()).item())
        return torch.from_numpy(random_window(self.frames, self.records[index], rng))


def main(folder: Path) -> None:
    warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nobody writes to it
    task = Task(**json.loads((folder / "task.json").read_text()))
    dataset = Windows(folder, task.frames)

    # One sampler without an end, so that no round pays for a new epoch's workers.
    sampler = torch.utils.data.RandomSampler(dataset, num_samples=10_000 * len(dataset), replacement=True)
    began = time.perf_counter()
    ahead = task.ahead if task.workers else None
    loader = iter(
        torch.utils.data.DataLoader(
            dataset, task.batch, sampler=sampler, num_workers=task.workers, prefetch_factor=ahead
        )
    )
    batch = next(loader)
    told = {"first": time.perf_counter() - began, "shape": list(batch.shape), "type": str(batch.numpy().dtype)}
    (folder / "peer.json").write_text(json.dumps(told))

    def several() -> None:
        for _ in range(task.batches):
            next(loader)

    serve({BATCHES: several})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
