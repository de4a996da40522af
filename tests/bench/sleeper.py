"""A contender that sleeps: python -m tests.bench.sleeper SECONDS [ROUNDS_UNTIL_IT_DIES]."""

import sys
import time

from stage_jax.bench.contest import serve

seconds, lives = float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1000


def work() -> None:
    global lives
    lives -= 1
    if lives < 0:
        sys.exit("sleeper: no more")
    time.sleep(seconds)


serve({"sleep": work})
