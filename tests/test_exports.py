"""The exports of the package match `__all__`, and the examples in docstrings run."""

import doctest
import importlib
import pkgutil
import subprocess
import sys
from inspect import isfunction

import pytest

import ohlol

MODULES = [m.name for m in pkgutil.walk_packages(ohlol.__path__, "ohlol.") if not m.name.endswith("__main__")]


def test_all_matches_the_exports() -> None:
    assert len(set(ohlol.__all__)) == len(ohlol.__all__)
    for name in ohlol.__all__:
        assert getattr(ohlol, name) is not None
    assert set(ohlol.__all__) == {*ohlol._MODULES, *ohlol._PACKAGES, "__version__"}
    scope: dict[str, object] = {}
    exec("from ohlol import *", scope)
    assert set(ohlol.__all__) <= set(scope)


def test_a_missing_attribute_raises_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'ohlol' has no attribute 'nothing'"):
        _ = ohlol.nothing  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("name", ["fit", "load", "accelerate"])
def test_a_module_never_hides_a_function(name: str) -> None:
    for module in MODULES:
        importlib.import_module(module)
    importlib.import_module("ohlol.training.fit")
    assert isfunction(getattr(ohlol, name))


def test_exports_import_in_a_fresh_process_in_any_order() -> None:
    code = "import ohlol.training.fit, ohlol; assert callable(ohlol.fit); "
    code += "from ohlol import fit, load; assert fit is ohlol.fit"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_packages_need_no_import_of_their_own() -> None:
    code = "import ohlol; assert ohlol.nn.LSTM(2, 3).hidden_size == 3; assert 'gru' in ohlol.cells.CELLS"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, ohlol; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", ["ohlol", *MODULES])
def test_the_examples_in_docstrings_run(name: str) -> None:
    module = importlib.import_module(name)
    scope = dict(vars(module))
    finder = doctest.DocTestFinder(exclude_empty=True)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in finder.find(module, name, globs=scope):
        runner.run(test)
    assert runner.failures == 0


def test_docstrings_have_examples() -> None:
    finder = doctest.DocTestFinder()
    found = [t for name in ["ohlol", *MODULES] for t in finder.find(importlib.import_module(name)) if t.examples]
    assert len(found) > 10
