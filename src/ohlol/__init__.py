"""ohlol: recurrent networks you can read, train and ship."""

__version__ = "0.1.0"
