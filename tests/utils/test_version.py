"""The version of the package is that of pyproject.toml."""

import tomllib
from pathlib import Path

from ohlol.utils.version import __version__


def test_the_version_is_that_of_pyproject() -> None:
    config = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    assert config["project"]["version"] == __version__
