"""The house itself: the order of its rooms, what is declared, what is shipped, and that shapes are checked in tests."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import jaxtyping
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("stage_jax", "data_pipeline")
# What needs an extra: programs of their own, and what runs on Beam.
PEERS = (
    "stage_jax.bench.wan_torch", "stage_jax.bench.vae_torch", "stage_jax.bench.data_torch", "stage_jax.bench.train_torch",
    "data_pipeline.beam",
)  # fmt: skip
ROOMS = sorted(p.name for p in (ROOT / "stage_jax").iterdir() if any(p.glob("*.py")))


def _python(*args: str, cwd: Path = ROOT) -> str:
    """Runs Python in a fresh process, without the import hook of these tests; returns what it printed."""
    done = subprocess.run([sys.executable, *args], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _sources() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def _modules() -> list[str]:
    roots = [importlib.import_module(package) for package in PACKAGES]
    walked = (m.name for root in roots for m in pkgutil.walk_packages(root.__path__, root.__name__ + "."))
    return [name for name in walked if not name.endswith("__main__") and name not in PEERS]


def _key(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _lock_blocks() -> list[str]:
    """The entries of requirements.lock, each with its hashes."""
    text = (ROOT / "requirements.lock").read_text()
    return re.findall(r"^[A-Za-z0-9].*(?:\n    .*)*", text, flags=re.MULTILINE)


def _declared(name: str) -> set[str]:
    """Normalised project names in a list of setup.py: `CORE`, or the extra of this name."""
    tree = ast.parse((ROOT / "setup.py").read_text())
    values = {n.targets[0].id: n.value for n in tree.body if isinstance(n, ast.Assign) and len(n.targets) == 1
              and isinstance(n.targets[0], ast.Name)}
    if name == "CORE":
        entries = ast.literal_eval(values["CORE"])
    else:
        extras = values["EXTRAS"]
        entries = next(ast.literal_eval(v) for k, v in zip(extras.keys, extras.values, strict=True) if k.value == name)
    return {_key(re.match(r"[\w.-]+", entry).group()) for entry in entries}


def test_import_contracts_hold() -> None:
    """import-linter finds every contract of pyproject.toml kept (`lint-imports` prints the same by hand)."""
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    assert " 0 broken" in _python("-c", code)


def test_every_room_has_a_place_in_the_order() -> None:
    """A new package of stage_jax has to be put into the layers, or imports from it are not held to any order."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = " ".join(next(c for c in settings["contracts"] if c["type"] == "layers")["layers"])
    missing = [room for room in ROOMS if not re.search(rf"\bstage_jax\.{room}\b", layers)]
    assert missing == []


@pytest.mark.smoke
def test_every_module_imports() -> None:
    """Every module imports under the shape checks, on this Python and this JAX."""
    names = _modules()
    assert {name.split(".")[1] for name in names if name.startswith("stage_jax.")} >= set(ROOMS)
    for name in names:
        importlib.import_module(name)


@pytest.mark.smoke
def test_the_story_loads_no_jax() -> None:
    """Whoever only reads or writes stories does not pay for JAX: all of stage_jax.story imports without it."""
    code = (
        "import sys, pkgutil, importlib, stage_jax.story as s\n"
        "for m in pkgutil.iter_modules(s.__path__, s.__name__ + '.'): importlib.import_module(m.name)\n"
        "print(sorted({'jax', 'flax', 'tensorflow', 'torch'} & set(sys.modules)))"
    )
    assert _python("-c", code).strip() == "[]"


def test_every_import_is_declared() -> None:
    """What the packages import is their own, the standard library's, or named in setup.py's core."""
    projects = {
        "PIL": "pillow", "absl": "absl-py", "cv2": "opencv-python-headless", "fpdf": "fpdf2", "orbax": "orbax-checkpoint",
        "scenedetect": "scenedetect-headless",
    }  # fmt: skip
    own = {_key(name) for name in PACKAGES}
    found: dict[str, Path] = {}
    peers = {ROOT / f"{name.replace('.', '/')}.py" for name in PEERS}
    for path in sorted(set(_sources()) - peers):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            else:
                continue
            found |= {name.split(".")[0]: path.relative_to(ROOT) for name in names}
    third_party = {name: path for name, path in found.items() if name not in sys.stdlib_module_names}
    known = _declared("CORE") | own
    assert {n: str(p) for n, p in third_party.items() if _key(projects.get(n, n)) not in known} == {}


def test_the_lock_holds_the_core_and_dev_by_hash() -> None:
    """Every entry has a hash, no place to download from is named, and all that setup.py asks for is there."""
    blocks = _lock_blocks()
    assert [b.splitlines()[0] for b in blocks if "--hash=sha256:" not in b] == []
    assert not re.search(r"://|--(?:extra-)?index-url|--find-links|--trusted-host", "".join(blocks))
    locked = {_key(re.match(r"[\w.-]+", b).group()) for b in blocks}
    assert (_declared("CORE") | _declared("dev")) - locked == set()


def test_what_is_built_holds_every_module_and_asset(tmp_path: Path) -> None:
    """A built package (not an editable one) carries all sources and everything in stage_jax/assets."""
    _python("setup.py", "-q", "build_py", "--build-lib", str(tmp_path))
    assets = [p for p in (ROOT / "stage_jax" / "assets").rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    assert assets, "stage_jax/assets is empty"
    missing = [str(p.relative_to(ROOT)) for p in _sources() + assets if not (tmp_path / p.relative_to(ROOT)).is_file()]
    assert missing == []


@pytest.mark.smoke
def test_shapes_are_checked_in_tests() -> None:
    """The import hook of conftest.py is at work: a picture of the wrong rank is an error here."""
    pair = importlib.import_module("stage_jax.story.board").Pair
    with pytest.raises(jaxtyping.TypeCheckError, match=r"Pair\.__init__"):
        pair(start=np.zeros((8, 8), np.uint8), end=np.zeros((8, 8, 3), np.uint8))
