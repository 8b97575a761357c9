# The project's habits, one name each. `make hello` and `make test` set up what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# For instance PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu" on Linux, for torch without CUDA.
PIP_FLAGS ?=
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt

.PHONY: hello test lint format results clean

hello: $(VENV)/ready
	$(BIN)/ohlol train

test: $(VENV)/ready-dev
	$(BIN)/python -m pytest

lint: $(VENV)/ready-dev
	$(BIN)/ruff format --check src tests
	$(BIN)/ruff check src tests
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

format: $(VENV)/ready-dev
	$(BIN)/ruff format src tests
	$(BIN)/ruff check --fix src tests

results: $(VENV)/ready-dev
	PATH=$(abspath $(BIN)):$$PATH bash benchmarks/results.sh

clean:
	rm -rf $(VENV) build dist

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/ready: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) -e .
	touch $@

$(VENV)/ready-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) -e '.[dev]'
	touch $@ $(VENV)/ready
