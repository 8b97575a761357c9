"""The one error a user can cause; knows nothing of what raised it."""


class InputError(Exception):
    """Something the user gave is wrong; the message is the one line they will read.

    It names what was wrong, where (file:line or argument) and what would be right. The command line prints it to
    stderr without a traceback and exits with status 2.
    """


class InputWarning(UserWarning):
    """Something is not as it should be, and the work goes on without it; the text is one line."""
