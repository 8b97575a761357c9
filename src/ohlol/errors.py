"""The one error a user can cause, and how long its words may be; knows nothing of what raised it."""


class InputError(Exception):
    """Something the user gave is wrong; the message is the one line they will read.

    It names what was wrong, where (file:line or argument) and what would be right. The command line prints it to
    stderr without a traceback and exits with status 2.
    """


class InputWarning(UserWarning):
    """Something is not as it should be, and the work goes on without it; the text is one line."""


def short(error: BaseException) -> str:
    """An error's own words, on one line and not endless: they may repeat what a stranger wrote."""
    said = str(error) if isinstance(error, InputError | ValueError) else repr(error)
    said = " ".join(said.split())
    return said if len(said) <= SAID else said[: SAID - 1] + "…"


SAID = 200
"""Characters of a library's own message that an error repeats."""
