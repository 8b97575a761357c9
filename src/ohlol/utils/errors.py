"""InputError and helpers that shorten messages."""

import traceback
from types import FrameType

from ohlol.utils.translation import fill_in


class InputError(Exception):
    """Something the user gave is wrong; the message is the one line they will read.

    It names what was wrong, where (file:line or argument) and what would be right. The command line prints it to
    stderr without a traceback and exits with status 2.

    Args:
        message: the English message, which is translated; a template of `str.format` where `values` are given.
        values: what the placeholders of the message stand for, by name; those made by `message_id` are translated, too.

    >>> str(InputError("{path}: no such file", path="data.csv"))
    'data.csv: no such file'
    """

    def __init__(self, message: str, /, **values: object) -> None:
        super().__init__(fill_in(message, values))


class TooLarge(InputError):  # noqa: N818 - what was asked for is
    """What was asked for does not fit into memory."""


class InputWarning(UserWarning):
    """A problem that does not stop the program; the message is one line."""


MAX_QUOTED = 200
"""The longest text that an error message quotes from a library or from a file, in characters."""


MAX_MESSAGE = 1000
"""The longest message that the command line prints, in characters."""


def shorten_message(text: str) -> str:
    """A message on one line; of a longer one than `MAX_MESSAGE` the middle is left out, such as a long file name."""
    text = " ".join(text.split("\n"))
    half = (MAX_MESSAGE - 3) // 2
    return text if len(text) <= MAX_MESSAGE else f"{text[:half]} … {text[-half:]}"


def describe_error(error: BaseException) -> str:
    """The message of an error on one line, shortened, since it may quote untrusted text."""
    return shorten(" ".join(str(error).split()) if isinstance(error, InputError | ValueError) else repr(error))


def describe_user_error(error: BaseException) -> str:
    """The type and the message of an error in code of the user, and the last line of that code that led to it."""
    lines = [f"{f.f_code.co_filename}:{line}" for f, line in traceback.walk_tb(error.__traceback__) if _is_user_code(f)]
    place = f" ({lines[-1]})" if lines else ""
    message = " ".join(str(error).split())
    return shorten(f"{type(error).__name__}: {message}" if message else type(error).__name__) + place


def _is_user_code(frame: FrameType) -> bool:
    package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    return package not in ("ohlol", "torch", "importlib", "inspect") and not frame.f_code.co_filename.startswith("<")


def shorten(text: str, limit: int = MAX_QUOTED) -> str:
    """Untrusted text in at most `limit` characters, with control characters escaped."""
    text = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text[:limit])
    return text if len(text) < limit else text[: limit - 1] + "…"
