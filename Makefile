# The commands of the project. Each target installs what it needs first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# For instance PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu" on Linux, for torch without CUDA.
PIP_FLAGS ?=
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt
# Test processes: one for each core by default. `make test JOBS=0` runs the tests in one process.
JOBS ?= auto
# More options of pytest, for instance `make test TESTS=tests/nn PYTEST_FLAGS="-k gru"`.
TESTS ?= tests
PYTEST_FLAGS ?=
# The processes that tests start would otherwise compile every module again where the user's shell forbids bytecode.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(PYTEST_FLAGS)

.PHONY: hello test test-all faults fuzz serving lint lint-js format messages results pictures docs notebooks site clean

hello: $(VENV)/ready
	$(BIN)/ohlol train

# Everything but the tests marked `slow`, with fewer random examples: a few minutes.
test: $(VENV)/ready-dev
	OHLOL_HOSTILE=40 $(PYTEST) -m "not slow" --hypothesis-profile quick $(TESTS)

# Everything, as CI runs it.
test-all: $(VENV)/ready-dev
	$(PYTEST) $(TESTS)

# The long form of tests/faults and tests/distributed: 200 kills, 2,000 damaged data files and 2,000 flipped bits.
faults: $(VENV)/ready-dev
	OHLOL_KILLS=200 OHLOL_MUTATIONS=2000 OHLOL_FLIPS=2000 OHLOL_WORKER_KILLS=20 OHLOL_PROCESS_ENDS=10 \
	  $(BIN)/python -m pytest -rs tests/faults tests/distributed

# The long form of tests/fuzz, less than 15 minutes: random command lines, damaged runs, models and data files, requests and
# WebSocket frames, others in each run; and inputs that atheris generates for the readers, where it is installed.
fuzz: $(VENV)/ready-dev
	OHLOL_FUZZ=800 $(PYTEST) tests/fuzz
	$(BIN)/python tests/fuzz/readers.py

# The long form of tests/serve: 500 slow clients, a minute of 200 streams and 50 clients, 500 requests an operation.
serving: $(VENV)/ready-dev
	OHLOL_SLOW_CLIENTS=500 OHLOL_LOAD_SECONDS=60 OHLOL_SCHEMA_EXAMPLES=500 $(BIN)/python -m pytest -rs -s tests/serve

lint: $(VENV)/ready-dev lint-js
	$(BIN)/ruff format --check src tests docs examples benchmarks
	$(BIN)/ruff check src tests docs examples benchmarks
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

# The JavaScript of the pages and the workflows of .github, with the tools that package.json names.
lint-js:
	@if command -v npm >/dev/null; then npm ci --silent --no-audit --no-fund && npm run --silent lint; \
	else echo "npm is not installed: the JavaScript and the workflows are not checked" >&2; fi

format: $(VENV)/ready-dev
	$(BIN)/ruff format src tests docs examples benchmarks
	$(BIN)/ruff check --fix src tests docs examples benchmarks

results: $(VENV)/ready-dev
	PATH=$(abspath $(BIN)):$$PATH bash benchmarks/results.sh

# Collect the messages of the program in src/ohlol/utils/locale, name those without a translation, and compile the catalogue.
messages: $(VENV)/ready-dev
	$(BIN)/python docs/make_messages.py

# Write the program's output into the pages; the tests fail where a page is out of date.
docs: $(VENV)/ready-dev
	$(BIN)/python docs/make_cli.py
	$(BIN)/python tests/docs/transcripts.py
	$(BIN)/python tests/docs/notebooks.py examples/hello.ipynb examples/sonnets.ipynb

# The lessons as notebooks, in build/notebooks/en and zh; the site has them for download. They run once, which takes minutes.
notebooks: build/notebooks/ready

# The documentation as a site, in build/site/en and build/site/zh; a warning is an error.
site: $(VENV)/ready-docs build/notebooks/ready
	for language in en zh; do \
	  OHLOL_SITE_LANGUAGE=$$language $(BIN)/python -m sphinx -q -E -a -W --keep-going -n \
	    -d build/site-doctrees/$$language docs build/site/$$language || exit 1; \
	done
	cp docs/languages.html build/site/index.html
	$(BIN)/ohlol playground -o build/site/playground.html

pictures: $(VENV)/ready-dev
	$(BIN)/python docs/make_picture.py
	$(BIN)/python docs/make_explaining.py
	$(BIN)/python docs/make_playground.py
	$(BIN)/python docs/make_serving.py

include csrc.mk

clean:
	rm -rf $(VENV) build dist node_modules

build/notebooks/ready: $(wildcard docs/lessons/*.md) $(wildcard tests/docs/*notebooks.py) | $(VENV)/ready-dev
	$(BIN)/python tests/docs/lesson_notebooks.py build/notebooks
	touch $@

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/ready: pyproject.toml constraints.txt CMakeLists.txt $(wildcard csrc/*) | $(VENV)/bin/python
	$(PIP) -e .
	touch $@

$(VENV)/ready-dev: pyproject.toml constraints.txt CMakeLists.txt $(wildcard csrc/*) | $(VENV)/bin/python
	$(PIP) -e '.[dev]'
	touch $@ $(VENV)/ready

$(VENV)/ready-docs: $(VENV)/ready-dev
	$(PIP) -e '.[dev,docs]'
	touch $@
