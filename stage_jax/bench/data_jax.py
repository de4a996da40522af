"""Our contender of `stage bench data`: python -m stage_jax.bench.data_jax FOLDER."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from data_pipeline.loader import batches, clip_windows
from data_pipeline.records import open_records
from data_pipeline.stream import ON_DEVICE, Stream
from stage_jax.bench.contest import serve
from stage_jax.bench.data import BATCHES, Task


def main(folder: Path) -> None:
    task = Task(**json.loads((folder / "task.json").read_text()))
    windows = clip_windows(open_records(folder / "toy", "train", ("clips", "shots")), task.frames, seed=0)
    dataset = batches(windows, task.batch)

    began = time.perf_counter()
    stream = Stream(dataset, workers=task.workers, ahead=task.ahead - ON_DEVICE)  # those that wait on the device count too
    batch = next(stream)
    told = {"first": time.perf_counter() - began, "shape": list(batch.shape), "type": str(batch.dtype)}
    (folder / "ours.json").write_text(json.dumps(told))

    def several() -> None:
        for _ in range(task.batches):
            next(stream)

    serve({BATCHES: several})
    stream.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
