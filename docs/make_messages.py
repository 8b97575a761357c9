"""Collect the messages of the program in its catalogue, and compile it: `python docs/make_messages.py`.

Messages are the first arguments of `translate`, `message_id` and `InputError` in src/ohlol, the help of the command
line, and the first arguments of the functions that register a check of `ohlol review`. A test fails where the
catalogue is not complete or not compiled; new entries are appended without a translation, which a person writes.
"""

import ast
import io
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import typer.main
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from ohlol.cli import app
from ohlol.utils.translation import CATALOGUES, use_language

SOURCES = Path(__file__).parents[1] / "src" / "ohlol"
FUNCTIONS = {"translate": 0, "message_id": 0, "InputError": 0, "TooLarge": 0, "check": 1, "watched": 1}
"""Functions whose argument at this place is a message."""
LANGUAGE = "zh"
PO = CATALOGUES / LANGUAGE / "LC_MESSAGES" / "ohlol.po"
WIDTH = 120
HEADERS = [
    ("Project-Id-Version", "ohlol"),
    ("Language", LANGUAGE),
    ("MIME-Version", "1.0"),
    ("Content-Type", "text/plain; charset=utf-8"),
    ("Content-Transfer-Encoding", "8bit"),
    ("Plural-Forms", "nplurals=1; plural=0;"),
]


@cache
def collect_messages() -> dict[tuple[str, str | None], None]:
    """Every message with its context, in the order of their files."""
    messages: dict[tuple[str, str | None], None] = {}
    for file in sorted(SOURCES.rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        if any(f"{name}(" in text for name in FUNCTIONS):
            messages |= dict.fromkeys(messages_of(ast.parse(text)))
    return messages | {(text, None): None for text in help_texts()}


def messages_of(tree: ast.AST) -> Iterator[tuple[str, str | None]]:
    """The messages of a module, with their contexts."""
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call):
            continue
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        place = FUNCTIONS.get(name)
        if place is None or len(call.args) <= place:
            continue
        context = call.args[1].value if name == "message_id" and len(call.args) > 1 else None  # pyright: ignore
        for text in _constants(call.args[place]):
            if text.strip():
                yield text, context


def _constants(node: ast.AST) -> Iterator[str]:
    """The strings that an argument may be: a constant, or one of two by a condition."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from _constants(node.body)
        yield from _constants(node.orelse)


def help_texts() -> Iterator[str]:
    """The help of every command and option, and the names of their groups."""
    with use_language("en"):
        group: Any = typer.main.get_command(app)
    for command in (group, *group.commands.values()):
        for owner in (command, *command.params):
            yield from filter(None, (getattr(owner, "help", None), getattr(owner, "rich_help_panel", None)))


def read_catalogue() -> Catalog:
    """The catalogue as it is in its file."""
    with PO.open("rb") as file:
        return read_po(file, locale=LANGUAGE, domain="ohlol")


class Messages(Catalog):
    """A catalogue whose header has no dates and no versions, so that equal messages give equal files."""

    @property
    def mime_headers(self) -> list[tuple[str, str]]:
        """The header of the file."""
        return HEADERS

    @mime_headers.setter
    def mime_headers(self, headers: Any) -> None:
        pass


def update(catalogue: Catalog) -> Catalog:
    """The catalogue with every message of the program and no others, sorted, with the translations there are."""
    result = Messages(locale=LANGUAGE, header_comment=catalogue.header_comment, domain="ohlol", fuzzy=False)
    for text, context in sorted(collect_messages(), key=lambda message: (message[0], message[1] or "")):
        known = catalogue.get(text, context)
        result.add(text, known.string if known is not None else "", context=context)
    return result


def to_po(catalogue: Catalog) -> bytes:
    """The text of the catalogue."""
    file = io.BytesIO()
    write_po(file, catalogue, width=WIDTH, no_location=True, sort_output=False)
    return file.getvalue()


def to_mo(catalogue: Catalog) -> bytes:
    """The compiled catalogue."""
    file = io.BytesIO()
    write_mo(file, catalogue)
    return file.getvalue()


def main() -> None:
    """Write both files, and say what is not translated."""
    catalogue = update(read_catalogue())
    PO.write_bytes(to_po(catalogue))
    PO.with_suffix(".mo").write_bytes(to_mo(catalogue))
    missing = [message.id for message in catalogue if message.id and not message.string]
    print(f"wrote {PO} ({len(catalogue)} messages) and {PO.with_suffix('.mo').name}", file=sys.stderr)
    for text in missing:
        print(f"not translated: {text}", file=sys.stderr)


if __name__ == "__main__":
    main()
