"""The version of ohlol, which is that of the tag it was built from."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("ohlol")
except PackageNotFoundError:  # the source tree of a package that is not installed
    __version__ = "0+unknown"
