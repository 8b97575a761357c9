"""Text of unknown origin on a terminal: control characters are shown as escapes, never sent.

A label, a file name or a name in an ONNX graph may hold an escape sequence that clears the screen, renames the window
or hides what follows. Every text that a command prints goes through one of these functions.
"""

import io
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderableType
    from rich.segment import Segment

CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters except the tab and the line end, characters that end a line or reverse its direction, and lone
surrogates, which stand for the bytes of a file name that is not UTF-8."""
JOINERS = "\u200c\u200d"
"""Not printable, but part of the spelling of Persian words and of many emoji."""
CLOSING, OPENING = "，。：；、）！？”》", "（“《"
"""Chinese punctuation that does not begin a line, and that does not end one."""
UNBROKEN = re.compile(f"[{OPENING}]*(?:[!-~]+|[^\\s{OPENING}])[{CLOSING}]*\\s*|\\s+|[{OPENING}]+")
"""What stays on one line: a word of Latin letters, or a character, with the punctuation and the spaces beside it."""


def escape_controls(text: str) -> str:
    r"""Text with visible escapes for `CONTROLS`; all but those below U+0020 are also escapes of JSON.

    >>> escape_controls("a\x1b[2J\x9b\tb")
    'a\\x1b[2J\\u009b\tb'
    """
    return CONTROLS.sub(lambda match: _escape(match[0]), text)


def escape_symbol(symbol: str) -> str:
    r"""A symbol or a label with an escape for every character that is not printable, such as a no-break space.

    >>> escape_symbol("a\nb"), escape_symbol("\\")
    ('a\\nb', '\\')
    """
    return "".join(c if c.isprintable() or c in JOINERS else repr(c)[1:-1] for c in symbol)


def _escape(character: str) -> str:
    return repr(character)[1:-1] if character < " " else f"\\u{ord(character):04x}"


def print_message(text: str, file: IO[str] | None = None, *, flush: bool = False) -> None:
    """Print a message, escaped wherever it goes; `file` is standard output without it."""
    print(escape_controls(text), file=file, flush=flush)


def print_data(text: str, file: IO[str] | None = None, *, end: str = "\n", flush: bool = False) -> None:
    """Print data: escaped on a terminal, as they are in a file or a pipe; `file` is standard output without it."""
    stream = sys.stdout if file is None else file
    print(escape_controls(text) if stream.isatty() else text, file=stream, end=end, flush=flush)


def new_console(file: IO[str] | None = None) -> "Console":
    """Where rich writes: brackets in data are not markup, and control characters are escaped."""
    from rich.console import Console

    console: Any = Console(file=file, highlight=False, markup=False, emoji=False)
    console.push_render_hook(EscapeHook())
    return console


def capture(print_to: "Callable[[Console], None]") -> str:
    """What a function prints to a console, without spaces at the ends of lines and empty lines around it."""
    file = io.StringIO()
    print_to(new_console(file))
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()).strip("\n")


def wrap(text: str, width: int) -> list[str]:
    """Lines of at most `width` columns; Chinese text is also broken between characters. A line end stays.

    >>> wrap("one two three", 8)
    ['one two', 'three']
    >>> wrap("循环（神经）网络。", 14), wrap("有 softmax、sigmoid", 14)
    (['循环（神经）网', '络。'], ['有 softmax、', 'sigmoid'])
    >>> wrap("one two\\n\\nthree four", 9)
    ['one two', '', 'three', 'four']
    """
    from rich.cells import cell_len

    if "\n" in text:
        return [line for part in text.split("\n") for line in wrap(part, width) or [""]]
    if cell_len(text) == len(text):
        return textwrap.wrap(text, width)
    lines, line = list[str](), ""
    for word in UNBROKEN.findall(text):
        if line and cell_len((line + word).rstrip()) > width:
            lines.append(line.rstrip())
            line = ""
        while cell_len(word.rstrip()) > width:
            fits = next(k for k in range(len(word), 0, -1) if cell_len(word[:k]) <= width)
            lines.append(word[:fits])
            word = word[fits:]
        line += word
    return [*lines, line.rstrip()] if line else lines


class EscapeHook:
    """A hook of rich that escapes the text of everything a console prints, and leaves the console's own codes."""

    def process_renderables(self, renderables: "list[ConsoleRenderable]") -> "list[ConsoleRenderable]":
        """Return what is printed instead."""
        return [_Escaped(renderable) for renderable in renderables]


class _Escaped:
    def __init__(self, content: "RenderableType") -> None:
        self.content = content

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "Iterator[Segment]":
        from rich.segment import Segment

        for text, style, control in console.render(self.content, options):
            yield Segment(text if control else escape_controls(text), style, control)
