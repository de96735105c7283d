# Every target does its own set-up: a virtual environment in .venv with the package and what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: compare test check bench clean

compare: $(READY)  ## the default comparison: table, summary.json and figures in runs/default
	$(BIN)/mapopt compare

test: $(READY)  ## all tests and doctests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

check: $(READY)  ## format, lint, types, and the fast tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

bench: $(READY)  ## the benchmarks, printed as ratios of one run
	$(BIN)/mapopt bench losses
	$(BIN)/mapopt bench ap
	$(BIN)/mapopt bench fleet
	$(BIN)/mapopt bench env
	$(BIN)/mapopt bench cli

clean:  ## everything that was made, but not the runs
	rm -rf $(VENV) build dist *.egg-info src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $(READY)
