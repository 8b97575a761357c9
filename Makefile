# The project's habits, one name each. `make hello` and `make test` set up what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# For instance PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu" on Linux, for torch without CUDA.
PIP_FLAGS ?=
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt

.PHONY: hello test faults serving lint format results pictures docs clean

hello: $(VENV)/ready
	$(BIN)/ohlol train

test: $(VENV)/ready-dev
	$(BIN)/python -m pytest

# The long form of tests/faults: 200 kills, 2,000 spoiled data files, 2,000 flipped bits, and atheris where it is installed.
faults: $(VENV)/ready-dev
	OHLOL_KILLS=200 OHLOL_MUTATIONS=2000 OHLOL_FLIPS=2000 OHLOL_WORKER_KILLS=20 OHLOL_TEAM_ENDS=10 $(BIN)/python -m pytest -rs tests/faults tests/team
	$(BIN)/python tests/faults/fuzz.py

# The long form of tests/serve: 500 slow clients, a minute of 200 streams and 50 clients, 500 requests an operation.
serving: $(VENV)/ready-dev
	OHLOL_SLOW_CLIENTS=500 OHLOL_LOAD_SECONDS=60 OHLOL_SCHEMA_EXAMPLES=500 $(BIN)/python -m pytest -rs -s tests/serve

lint: $(VENV)/ready-dev
	$(BIN)/ruff format --check src tests docs examples benchmarks
	$(BIN)/ruff check src tests docs examples benchmarks
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

format: $(VENV)/ready-dev
	$(BIN)/ruff format src tests docs examples benchmarks
	$(BIN)/ruff check --fix src tests docs examples benchmarks

results: $(VENV)/ready-dev
	PATH=$(abspath $(BIN)):$$PATH bash benchmarks/results.sh

# What the program printed, put into the pages; the tests fail where a page is stale.
docs: $(VENV)/ready-dev
	$(BIN)/python docs/make_cli.py
	$(BIN)/python tests/docs/transcripts.py
	$(BIN)/python tests/docs/notebooks.py examples/hello.ipynb examples/sonnets.ipynb

pictures: $(VENV)/ready-dev
	$(BIN)/python docs/make_picture.py
	$(BIN)/python docs/make_seeing.py
	$(BIN)/python docs/make_serving.py

include csrc.mk

clean:
	rm -rf $(VENV) build dist

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/ready: pyproject.toml constraints.txt CMakeLists.txt $(wildcard csrc/*) | $(VENV)/bin/python
	$(PIP) -e .
	touch $@

$(VENV)/ready-dev: pyproject.toml constraints.txt CMakeLists.txt $(wildcard csrc/*) | $(VENV)/bin/python
	$(PIP) -e '.[dev]'
	touch $@ $(VENV)/ready
