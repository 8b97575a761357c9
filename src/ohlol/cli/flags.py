"""The flags of the command line by setting, and messages that name flags instead of settings."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import typer

from ohlol.utils.translation import choose_language

SETTING = re.compile(r"`([a-z][a-z0-9_]*)(?:=([^`\s]+))?`")
"""A setting in a message of the library: `lr`, or with a value: `max_grad_norm=1`, `bidirectional=False`."""


def parser_of(app: typer.Typer) -> Any:
    """The parser of the command line, made once for each language: typer makes all commands anew at each call."""
    return _make_parser(app, choose_language())


@cache
def _make_parser(app: typer.Typer, lang: str) -> Any:
    del lang  # the texts of the help are translated while the parser is made
    return typer.main.get_command(app)


def commands_of(app: typer.Typer) -> Mapping[str, Any]:
    """Each command by its name, as the parser holds it: `params` are its arguments and options."""
    return parser_of(app).commands


@cache
def flags_of(app: typer.Typer, command: str | None = None) -> dict[str, tuple[str, str | None]]:
    """The flags of every setting: the one that sets it (or sets it to true), and the one that sets it to false.

    Args:
        app: the command line.
        command: its options come before those of other commands with the same name.
    """
    commands = commands_of(app)
    first = [commands[command]] if command is not None and command in commands else []
    flags: dict[str, tuple[str, str | None]] = {}
    for parser in (*first, *commands.values()):
        for option in parser.params:
            if option.param_type_name == "option":
                flags.setdefault(option.name, (option.opts[0], next(iter(option.secondary_opts), None)))
    return flags


def name_flags(message: str, app: typer.Typer, command: str | None = None) -> str:
    """Replace each setting in backticks by its flag; whatever else is in backticks stays.

    >>> from ohlol.cli import app
    >>> name_flags("`lr` is 0; see `ohlol train`, or give `header=False` or `hidden_size=8`", app)
    '--lr is 0; see `ohlol train`, or give --no-header or --hidden-size 8'
    """
    flags = flags_of(app, command) if SETTING.search(message) else {}

    def flag(match: re.Match[str]) -> str:
        name, value = match.groups()
        if name not in flags:
            return match[0]
        on, off = flags[name]
        if value is None or value == "True":
            return on
        if value == "False" and off is not None:
            return off
        return f"{on} {value}"

    return SETTING.sub(flag, message)
