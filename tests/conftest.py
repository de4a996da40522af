"""What every test runs under: the CPU, and shapes and types checked at every call.

The import hook has to stand before anything imports the packages: it makes jaxtyping and beartype check every annotated
argument and result of `stage_jax` and `data_pipeline`, which the packages do not pay for outside the tests.
"""

from __future__ import annotations

import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the probe's small products lose by more threads

import jaxtyping
import pytest

jaxtyping.install_import_hook(["stage_jax", "data_pipeline"], "beartype.beartype")

# The small part of the suite that other Python versions run (`make smoke`), besides the tests that bear the mark themselves:
# a little of every room, and what leans on packages whose versions differ between Pythons (jax, flax, av, numpy).
SMOKE = (
    "data_pipeline/test_records.py",
    "film/test_manifest.py",
    "film/test_video.py",
    "generate/",
    "losses/",
    "models/test_tokenizer.py",
    "models/test_umt5.py",
    "recipes/",
    "sampling/",
    "story/test_json.py",
    "weights/test_folder.py",
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    tests = config.rootpath / "tests"
    for item in items:
        if item.path.relative_to(tests).as_posix().startswith(SMOKE):
            item.add_marker(pytest.mark.smoke)
