"""The version of the package is the one it was installed with."""

import importlib.metadata
import runpy
from pathlib import Path

import pytest

import ohlol
from ohlol.utils import version

MODULE = Path(version.__file__)


def test_the_version_is_that_of_the_installed_package() -> None:
    assert ohlol.__version__ == version.__version__ == importlib.metadata.version("ohlol")


def test_a_source_tree_that_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_installed(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", not_installed)
    assert runpy.run_path(str(MODULE))["__version__"] == "0+unknown"
