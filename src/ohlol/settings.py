"""Every setting a run has and its default, in one place; knows nothing of how a setting is used.

The command line, `ohlol.fit` and a run's `config.json` are all views of these three dataclasses.
"""

from dataclasses import dataclass

TASKS = ("label", "next", "classify", "forecast")
FORMATS = ("pairs", "conll", "segment", "text", "columns")
LEVELS = ("char", "word")


@dataclass(frozen=True)
class DataSettings:
    """How a file is read. None means: told from the file."""

    task: str | None = None
    """One of `TASKS`."""
    format: str | None = None
    """One of `FORMATS`."""
    level: str | None = None
    """What a symbol is: "char" (a code point after NFC) or "word"."""
    input: str | None = None
    """The input column, by name or by number from 1; for forecast, several, separated by commas."""
    target: str | None = None
    """The target column, likewise."""
    header: bool | None = None
    """Whether a CSV file's first row names its columns; without it, columns have numbers."""
