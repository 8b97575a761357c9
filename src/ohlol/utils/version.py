"""The version of ohlol."""

__version__ = "0.1.0"
