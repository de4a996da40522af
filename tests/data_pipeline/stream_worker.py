"""A run that reads batches with two workers and may kill itself: python -m tests.data_pipeline.stream_worker LOG DIE_AT.

Every batch becomes a line of LOG; the stream's state is kept in LOG.state at every third step. It begins where that stands and
ends at step 12, or kills itself after DIE_AT batches (0: never).
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from pathlib import Path

from data_pipeline.stream import Stream
from tests.data_pipeline.test_stream import dataset


def main(log: Path, die_at: int) -> None:
    stream, state = Stream(dataset(), workers=2), log.with_suffix(".state")
    if state.exists():
        stream.set_state(state.read_bytes())
    while (step := json.loads(stream.get_state())["next_index"]) < 12:
        if step % 3 == 0:
            state.write_bytes(stream.get_state())
        batch = next(stream).tolist()
        workers = [process.pid for process in multiprocessing.active_children()]
        with log.open("a") as file:
            file.write(json.dumps({"step": step, "batch": batch, "workers": workers}) + "\n")
        if step + 1 == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
    stream.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
