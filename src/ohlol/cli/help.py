"""Commands with the option `--lang`, and their help and their errors in the user's language."""

import inspect
import re
from collections.abc import Callable
from functools import wraps
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from ohlol.utils.errors import InputError
from ohlol.utils.terminal import new_console, wrap
from ohlol.utils.translation import LANGUAGES, join_list, message_id, translate


def check_language(lang: str | None) -> None:
    """Check the value of `--lang`; raises InputError where it is no language."""
    if lang is not None and lang not in LANGUAGES:
        raise InputError(
            "`lang` is {value!r}; it must be one of {languages}", value=lang, languages=join_list(LANGUAGES)
        )


Lang = Annotated[
    str | None,
    typer.Option(help="Language: en or zh; by default that of the environment.", callback=check_language),
]

VALUES = {"str": "TEXT", "int": "N", "float": "X", "Path": "PATH"}
"""What stands for the value of an option without a name of its own, by its type."""

USAGE_ERRORS = (
    message_id("No such option: {option}"),
    message_id("{message} (Possible options: {options})"),
    message_id("{message} Did you mean {names}?"),
    message_id("No such command {name}."),
    message_id("Missing command."),
    message_id("Missing argument {name}."),
    message_id("Missing option {name}."),
    message_id("Option {name} requires an argument."),
    message_id("Option {name} does not take a value."),
    message_id("Got unexpected extra argument(s) ({arguments})"),
    message_id("Invalid value for {name}: {problem}"),
    message_id("Input should be a valid integer, unable to parse string as an integer"),
    message_id("Input should be a valid number, unable to parse string as a number"),
    message_id("Input should be greater than or equal to {least}"),
    message_id("Input should be less than or equal to {most}"),
)
"""What typer says about a wrong command line; it has no catalogue of its own."""


class TranslatedHelp:
    """What makes the help of a command in the user's language; every command and the group of them have it."""

    params: list[Any]
    help: str | None

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        owners: list[Any] = [self, *self.params]
        for owner in owners:
            if getattr(owner, "help", None):
                owner.help = translate(owner.help)
            if panel := getattr(owner, "rich_help_panel", None):
                owner.rich_help_panel = translate(panel)
        for parameter in self.params:
            convert_without_validation(parameter)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return what follows the name of the program in the line that begins with "Usage:"."""
        arguments = [value_name(one) for one in self.params if one.param_type_name == "argument"]
        return [*arguments, "[OPTIONS]", *(["COMMAND [ARGS]..."] if hasattr(self, "commands") else [])]

    def format_usage(self, ctx: Any, formatter: Any) -> None:
        """Write the line that begins with "Usage:"."""
        formatter.write_usage(ctx.command_path, " ".join(self.collect_usage_pieces(ctx)), prefix=translate("Usage: "))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help."""
        _print_help(self, ctx)

    def get_help_option_names(self, ctx: Any) -> list[str]:
        """Return the names of the option `--help`, the short one first."""
        names: list[str] = super().get_help_option_names(ctx)  # pyright: ignore
        return sorted(names, key=len)

    def get_help_option(self, ctx: Any) -> Any:
        """Return the option `--help`."""
        option: Any = super().get_help_option(ctx)  # pyright: ignore
        if option is not None:
            option.help = translate(message_id("Show this message and exit."))
            convert_without_validation(option)
        return option


class Command(TranslatedHelp, TyperCommand):
    """A command whose help is in the user's language."""


class Group(TranslatedHelp, TyperGroup):
    """The commands, whose help is in the user's language."""


class App(typer.Typer):
    """Commands that each take `--lang`, which `ohlol.cli.main` reads before it calls one."""

    def command(self, *args: Any, **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Register a function as a command, as `typer.Typer.command` does."""
        register = super().command(*args, cls=Command, **options)

        def register_with_language(function: Callable[..., Any]) -> Callable[..., Any]:
            register(_add_language(function))
            return function

        return register_with_language


def find_language(arguments: list[str]) -> str | None:
    """The language of a command line: that of `--lang`, English where JSON is written, or None for the environment's.

    >>> find_language(["--lang", "zh", "shapes", "rnn"]), find_language(["shapes", "rnn", "--lang=zh"])
    ('zh', 'zh')
    >>> find_language(["--lang", "zh", "shapes", "rnn", "--lang", "en"])
    'en'
    >>> find_language(["shapes", "rnn", "--json"]), find_language(["train"])
    ('en', None)
    """
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    lang = None
    for option, following in pairwise([*options, ""]):
        name, _, value = option.partition("=")
        value = following if option == "--lang" else value
        if name == "--lang" and value in LANGUAGES:
            lang = value  # of several, the last counts
    return LANGUAGES[0] if lang is None and "--json" in options else lang


def find_command(arguments: list[str]) -> str | None:
    """The command of a command line, which may follow `--lang`.

    >>> find_command(["--lang", "zh", "train", "data.csv"]), find_command(["--version"])
    ('train', None)
    """
    rest = iter(arguments)
    for argument in rest:
        if argument == "--lang":
            next(rest, None)
        elif not argument.startswith("-"):
            return argument
    return None


def translate_usage_error(message: str) -> str:
    """Translate a message of typer; one that is not known stays as it is.

    >>> translate_usage_error("No such option: --x")
    'No such option: --x'
    """
    for template in USAGE_ERRORS:
        parts = re.split(r"\{(\w+)\}", template)
        pattern = "".join(f"(?P<{part}>.+)" if k % 2 else re.escape(part) for k, part in enumerate(parts))
        if (match := re.fullmatch(pattern, message, re.DOTALL)) is not None:
            return translate(
                template, **{name: translate_usage_error(value) for name, value in match.groupdict().items()}
            )
    return message


CONVERSIONS: dict[Any, Callable[[Any], Any]] = {str: str, Path: Path, list[str]: list}
"""The types of values that need no validation, and how texts become such a value."""


def convert_without_validation(parameter: Any) -> None:
    """Let a parameter convert texts and paths itself, and take a value that is not given as it is.

    typer gives every value to pydantic: importing it, and a validator for each option, took 0.2 s of a command.
    """
    descriptor = getattr(parameter, "type_descriptor", None)
    if descriptor is None or "process_value" in vars(parameter):  # a typer that validates otherwise; changed before
        return
    process: Callable[[Any, Any], Any] = parameter.process_value
    convert = CONVERSIONS.get(descriptor.annotation)
    is_list = parameter.multiple or parameter.nargs == -1

    def process_value(ctx: Any, value: Any) -> Any:
        if parameter.required or (value is not None and convert is None):
            return process(ctx, value)
        if value is None:
            value = () if is_list else None
        elif convert is not None:
            value = convert(value)
        return value if parameter.callback is None else parameter.callback(ctx, parameter, value)

    parameter.process_value = process_value


def _add_language(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def command(*args: Any, lang: str | None = None, **options: Any) -> Any:
        del lang  # `main` has read it
        return function(*args, **options)

    signature = inspect.signature(function)
    added = inspect.Parameter("lang", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Lang)
    replaced: Any = command
    replaced.__signature__ = signature.replace(parameters=[*signature.parameters.values(), added])
    replaced.__annotations__ = {**function.__annotations__, "lang": Lang}
    return command


def value_name(parameter: Any) -> str:
    """What stands for the value of a parameter; empty for a flag."""
    if parameter.param_type_name == "argument":
        return parameter.metavar or parameter.name.upper()
    if parameter.is_flag:
        return ""
    return parameter.metavar or VALUES.get(parameter.type_descriptor.annotation.__name__, "TEXT")


def default_text(parameter: Any) -> str:
    """The default of an option as it is given; empty where there is none to show."""
    default = parameter.default
    if default is None or default is False or default == "":
        return ""
    return parameter.opts[0] if default is True else str(default)


def range_text(parameter: Any) -> str:
    """The range of a number; empty where there is none."""
    info = parameter.type_descriptor.parameter_info
    low, high = getattr(info, "min", None), getattr(info, "max", None)
    if low is not None and high is not None:
        return translate("{low} to {high}", low=f"{low:g}", high=f"{high:g}")
    if low is not None:
        return translate("at least {low}", low=f"{low:g}")
    return "" if high is None else translate("at most {high}", high=f"{high:g}")


def _print_help(command: Any, ctx: Any) -> None:
    """Print the help of a command in panels; names are never cut."""
    from rich.cells import cell_len
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    console = new_console()
    width = console.width - 4  # within a panel
    console.print(
        "", Text(command.get_usage(ctx), style="bold"), "", *wrap(command.help or "", console.width), "", sep="\n"
    )
    for title, rows in _help_panels(command, ctx).items():
        names_width = max(cell_len(line) for names, *_ in rows for line in names.split("\n"))
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
        for names, text, notes in rows:
            lines = _wrap_with_notes(text, notes, max(width - names_width - 2, 20))
            table.add_row(Text(names, style="bold cyan", no_wrap=True), Text("\n".join(lines)))
        console.print(Panel(table, title=title, title_align="left", border_style="dim"))


def _wrap_with_notes(text: str, notes: list[str], width: int) -> list[str]:
    """The lines of a text and of notes, which are not broken where they fit into a line."""
    from rich.cells import cell_len

    lines = wrap(text, width)
    for note in notes:
        if lines and cell_len(f"{lines[-1]} {note}") <= width:
            lines[-1] += f" {note}"
        else:
            lines += wrap(note, width)
    return lines


def _help_panels(command: Any, ctx: Any) -> dict[str, list[tuple[str, str, list[str]]]]:
    """The names, texts and notes of the arguments, options and commands, by the title of their panel."""
    panels: dict[str, list[tuple[str, str, list[str]]]] = {}
    for parameter in command.get_params(ctx):
        is_argument = parameter.param_type_name == "argument"
        title = parameter.rich_help_panel or translate("Arguments" if is_argument else "Options")
        names = value_name(parameter)
        if not is_argument:
            names = f"{', '.join(parameter.opts)} {names}".rstrip() + "".join(
                f"\n{o}" for o in parameter.secondary_opts
            )
        notes = [translate("[required]")] if parameter.required else []
        if parameter.envvar and parameter.show_envvar:
            notes.append(translate("[env var: {name}]", name=parameter.envvar))
        if limits := range_text(parameter):
            notes.append(f"[{limits}]")
        if default := default_text(parameter):
            notes.append(translate("[default: {value}]", value=default))
        panels.setdefault(title, []).append((names, parameter.help or "", notes))
    for name, one in getattr(command, "commands", {}).items():
        panels.setdefault(one.rich_help_panel, []).append((name, one.help, []))
    return panels
