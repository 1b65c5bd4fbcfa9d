# Everything a fresh clone needs is Python 3.11 or newer with pip; `make` alone lists the targets.
PYTHON := $(shell for p in python3.11 python3 python3.12 python3.13; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
BIN := .venv/bin
STAMP := .venv/.installed
PEERS := .venv/.peers

.DEFAULT_GOAL := help
.PHONY: help venv demo test check docs bench bench-check bench-large bench-labels bench-memory audit lock gpu-check soak clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile

venv: $(STAMP)  ## .venv with the package in editable mode, the offline models and the developers' tools

# Wheels only: nothing is compiled and no foreign setup script runs; -e . is this project and exempt.
$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer on the PATH" >&2; exit 1; }
	"$(PYTHON)" -m venv .venv
	$(BIN)/python -m pip install --quiet --only-binary=:all: -c constraints.txt -e ".[offline,dev]"
	@touch $@

demo: venv  ## the whole road on a small generated pool
	$(BIN)/nncift demo

test: venv  ## all tests
	$(BIN)/python -m pytest

check: venv  ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

docs: venv  ## the documentation as pages in build/docs; what is unclear is an error
	$(BIN)/python -m sphinx -E -W --keep-going -q -b html docs build/docs -d build/doctrees
	@echo "build/docs/index.html"

# The libraries that the benchmarks compare with.
$(PEERS): $(STAMP)
	$(BIN)/python -m pip install --quiet --only-binary=:all: -c constraints.txt -e ".[peers]"
	@touch $@

bench: $(PEERS)  ## selection against its peers, measured side by side: a table and benchmarks/out/bench.json
	$(BIN)/python -m benchmarks.selection

bench-check: $(PEERS)  ## whether half of each of its goals is reached, on one thread; minutes
	$(BIN)/python -m benchmarks.selection --check

bench-large: venv  ## 300,000 of a million rows, once
	$(BIN)/python -m benchmarks.large

bench-labels: venv  ## exact influences of a language model against the plain ways
	$(BIN)/python -m benchmarks.labels

gpu-check: venv  ## for the owner of a GPU: CUDA against the CPU, 4 bits, two devices, speeds
	$(BIN)/python benchmarks/gpu_check.py

soak: venv  ## faults while the program works, and what is left of its results; 20 minutes at most
	$(BIN)/python -m benchmarks.soak

bench-memory: venv  ## planned peak memory beside measured, into docs/memory.md
	$(BIN)/python -m benchmarks.memory --write

audit: venv  ## known holes in what is installed, and whether its files are those of the wheels
	$(BIN)/python -m pip install --quiet --only-binary=:all: pip-audit || true
	$(BIN)/python -m benchmarks.audit

lock: venv  ## lock.txt: every package with its version and the hash of its wheel
	$(BIN)/python -m benchmarks.lock

clean:  ## removes what make and the tools have made
	rm -rf .venv build dist src/*.egg-info .pytest_cache .ruff_cache .hypothesis
	find src tests docs -name __pycache__ -type d -prune -exec rm -rf {} +
