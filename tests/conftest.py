"""What every test runs under: the CPU, parsed absl flags, and shapes and types checked at every call.

The import hook has to stand before anything imports the packages: it makes jaxtyping and beartype check every annotated
argument and result of `stage_jax` and `data_pipeline`, which the packages do not pay for outside the tests.
"""

from __future__ import annotations

import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the probe's small products lose by more threads

import jaxtyping
from absl import flags

jaxtyping.install_import_hook(["stage_jax", "data_pipeline"], "beartype.beartype")
flags.FLAGS.mark_as_parsed()  # Grain's worker processes read absl flags, which no main() has parsed here
