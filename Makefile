# make demo | test | test-torch | test-tpu | test-beam | test-all | smoke | lock | lock-beam      PYTHON=python3.12 and VENV=folder choose another interpreter and environment
PYTHON ?= python3
VENV ?= .venv
UV ?= uv
# Processes that share the tests, a file each at a time; XLA compiles on one processor.
WORKERS ?= 2

# Apache Beam's own environment: it pins older libraries than the core's lock.
BEAM_VENV ?= .venv-beam

# Compiled programs of tests, by all that they are made from: shared by processes, and by runs.
test test-slow test-torch test-all smoke: export JAX_COMPILATION_CACHE_DIR := $(abspath $(VENV))/programs
test test-slow test-torch test-all smoke: export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS := 0

bin := $(abspath $(VENV))/bin
ready := $(VENV)/.ready
beam_bin := $(abspath $(BEAM_VENV))/bin
beam_ready := $(BEAM_VENV)/.ready

.DEFAULT_GOAL := demo
.PHONY: demo test test-slow test-torch test-tpu test-beam test-all lint smoke lock lock-beam

demo: $(ready)
	$(bin)/stage film stage_jax/assets/demo.fountain --out out/demo --seed 0
	@echo "film:  $(CURDIR)/out/demo/film.mp4"
	@echo "board: $(CURDIR)/out/demo/board.html"

# Programs of tests run once: what XLA's optimiser costs, they never earn back. The slow tests run optimised ones.
test: lint
	JAX_DISABLE_MOST_OPTIMIZATIONS=1 $(bin)/python -m pytest -n $(WORKERS) --dist loadfile -m "not slow"

test-slow: $(ready)
	$(bin)/python -m pytest -n $(WORKERS) --dist loadfile -m slow

# The comparisons with PyTorch and diffusers, live; installs the extra `torch`: best with a VENV of its own.
test-torch: $(ready)
	$(bin)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation -e '.[torch]'
	$(bin)/python -c 'import diffusers, torch'
	$(bin)/python -m pytest -n $(WORKERS) --dist loadfile -m torch

test-beam: $(beam_ready)
	$(beam_bin)/python -m pytest -m beam tests/data_pipeline/test_beam.py

# Programs for TPUs, compiled without one; installs the extra `tpu`: best with a VENV of its own. One after the other, since
# libtpu locks the machine.
test-tpu: $(ready)
	$(bin)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation -e '.[tpu]'
	$(bin)/python -c 'import libtpu'
	$(bin)/python -m pytest -m tpu tests/parallel/test_tpu.py

test-all: lint
	$(bin)/python -m pytest -n $(WORKERS) --dist loadfile

lint: $(ready)
	$(bin)/ruff check

# A small part of the suite, for the other Python versions: make smoke PYTHON=python3.13 VENV=.venv313
smoke: $(ready)
	$(bin)/python -m pytest -m smoke

# The one environment: every package by its hash from the lock, then this project without a download of its own.
$(ready): requirements.lock setup.py
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
	  { echo "stage_jax needs Python 3.11, 3.12 or 3.13 and $(PYTHON) is not one of them: choose with make PYTHON=..." >&2; exit 1; }
	@echo "setting up $(VENV), a minute or two"
	$(PYTHON) -m venv $(VENV)
	$(bin)/python -m pip install --quiet --no-compile --disable-pip-version-check --require-hashes -r requirements.lock
	$(bin)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(beam_ready): requirements-beam.lock setup.py
	$(PYTHON) -m venv $(BEAM_VENV)
	$(beam_bin)/python -m pip install --quiet --no-compile --disable-pip-version-check --require-hashes -r requirements-beam.lock
	$(beam_bin)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# Writes requirements.lock anew (needs uv; keeps the versions that are in it unless UV_FLAGS=--upgrade).
lock:
	$(UV) pip compile setup.py --extra dev --universal --python-version 3.11 --generate-hashes --no-annotate --quiet \
	  --custom-compile-command "make lock" $(UV_FLAGS) -o requirements.lock

lock-beam:
	$(UV) pip compile requirements-beam.in --universal --python-version 3.11 --generate-hashes --no-annotate --quiet \
	  --custom-compile-command "make lock-beam" $(UV_FLAGS) -o requirements-beam.lock
