"""The one error a user can cause, and how long its words may be; knows nothing of what raised it."""


class InputError(Exception):
    """Something the user gave is wrong; the message is the one line they will read.

    It names what was wrong, where (file:line or argument) and what would be right. The command line prints it to
    stderr without a traceback and exits with status 2.
    """


class TooLarge(InputError):  # noqa: N818 - what was asked for is
    """What was asked for does not fit into memory."""


class InputWarning(UserWarning):
    """Something is not as it should be, and the work goes on without it; the text is one line."""


def short(error: BaseException) -> str:
    """An error's own words, on one line and not endless: they may repeat what a stranger wrote."""
    return cut(" ".join(str(error).split()) if isinstance(error, InputError | ValueError) else repr(error))


def cut(said: str) -> str:
    """What a stranger wrote, not endless and without what a terminal would obey."""
    said = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in said[:SAID])
    return said if len(said) < SAID else said[: SAID - 1] + "…"


SAID = 200
"""Characters that an error repeats of a library's message or of a file that someone else wrote."""
