"""Texts as sequences of symbols: characters or words."""

Symbols = list[str] | str
"""A sequence: a string stands for its characters, a list for its words."""


def split_line(text: str, level: str | None) -> Symbols:
    """The symbols of one line or cell: the words between white space at the level "word", else its characters."""
    return text.split() if level == "word" else text


def split_lines(text: str, level: str | None) -> Symbols:
    r"""The symbols of a text of several lines, in which a line end is a symbol at both levels.

    >>> split_lines("to be\nor", "word")
    ['to', 'be', '\n', 'or']
    """
    if level != "word":
        return text
    first, *rest = text.split("\n")
    words = first.split()
    for line in rest:
        words.append("\n")
        words.extend(line.split())
    return words
