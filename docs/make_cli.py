"""Write docs/cli.md from the command line itself: `python docs/make_cli.py`. A test fails where the file is stale."""

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import typer.main

from ohlol.cli import app
from ohlol.config import TUTORIAL_MODEL, TUTORIAL_TRAIN, ModelSettings, TrainSettings
from ohlol.tasks import TASKS

PAGE = Path(__file__).with_name("cli.md")
VALUES = {"str": "TEXT", "int": "N", "float": "X", "Path": "PATH"}
KINDS = {"label, characters": ("label", "char"), "label, words": ("label", "word")} | {
    task: (task, "char") for task in ("next", "classify", "multilabel", "regress", "forecast", "next_row")
}
KINDS["classify, series"] = ("classify", "")
HEAD = """# Command line

<!-- Written by docs/make_cli.py; change that file, or the help texts in src/ohlol/cli. -->

`ohlol COMMAND --help` says the same on the terminal. `python -m ohlol` is `ohlol`.

| command | what it does |
|---|---|
{commands}
| `ohlol --version` | Print the version and exit. |

Exit status: 0 done; 1 a bug, with a traceback; 2 bad input, with one line on stderr that names the file and the line or
the flag; 130 interrupted, after saving. `prove` exits with 1 if it finds a difference, `review --strict` if it finds a
mistake.

```console
$ ohlol --version
ohlol ...
$ ohlol train missing.tsv
ohlol: missing.tsv: no such file
$ ohlol train examples/words.csv --input word --target tongue
ohlol: examples/words.csv:1: no column 'tongue'; there are 'word', 'language'
```

What a file may hold is in [data.md](data.md), what a run directory holds in [run-directory.md](run-directory.md).
"""
DEFAULTS = """
### Defaults

What is not given depends on the kind of data. The first column is the tutorial's: without a file, or with `--pair`.
Where a file is short, `--epochs` rises by itself until the optimizer has taken enough steps, to 100 at most, and to
500 for series of numbers with a class or a number each.

| setting | tutorial | {kinds} |
|---|---|{rule}
{rows}
"""


def reference() -> str:
    """The whole page."""
    commands: dict[str, Any] = typer.main.get_command(app).commands  # pyright: ignore
    head = HEAD.format(commands="\n".join(f"| [`{n}`](#ohlol-{n}) | {_line(c.help)} |" for n, c in commands.items()))
    return head + "".join(_command(name, command) for name, command in commands.items())


def _command(name: str, command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name != "argument"]
    usage = " ".join([f"ohlol {name}", *map(_argument, arguments), "[OPTIONS]"])
    parts = [f"\n## ohlol {name}\n\n{_line(command.help)}\n\n```\n{usage}\n```\n"]
    if arguments:
        rows = "\n".join(f"| `{_cell(_argument(p))}` | {_cell(p.help)} |" for p in arguments)
        parts.append(f"\n| argument | meaning |\n|---|---|\n{rows}\n")
    for panel in dict.fromkeys(p.rich_help_panel for p in options):
        title = f"\n### {panel}\n" if panel else ""
        rows = "\n".join(_option(p) for p in options if p.rich_help_panel == panel)
        parts.append(f"{title}\n| flag | meaning | default |\n|---|---|---|\n{rows}\n")
    if name == "train":
        parts.append(_defaults())
    return "".join(parts)


def _argument(parameter: Any) -> str:
    return parameter.metavar or parameter.name.upper()


def _option(parameter: Any) -> str:
    value = "" if parameter.is_flag else " " + (parameter.metavar or VALUES.get(_type(parameter), "TEXT"))
    names = [f"`{name}{value}`" for name in (*parameter.opts, *parameter.secondary_opts)]
    default = parameter.default
    shown = "" if default is None or default is False or default == "" else f"`{_named(parameter)}`"
    return f"| {', '.join(names)} | {_cell(parameter.help)} | {shown} |"


def _named(parameter: Any) -> str:
    return parameter.opts[0] if parameter.default is True else str(parameter.default)


def _type(parameter: Any) -> str:
    return parameter.type_descriptor.annotation.__name__


def _defaults() -> str:
    columns = [(TUTORIAL_MODEL, TUTORIAL_TRAIN), *(TASKS[task].defaults(level) for task, level in KINDS.values())]
    rows: list[str] = []
    for place, kind in enumerate((ModelSettings, TrainSettings)):
        for field in fields(kind):
            values = [getattr(column[place], field.name) for column in columns]
            flag = "--" + field.name.replace("_", "-")
            rows.append(f"| `{flag}` | " + " | ".join(_value(field.name, value) for value in values) + " |")
    return DEFAULTS.format(kinds=" | ".join(KINDS), rule="---|" * len(KINDS), rows="\n".join(rows))


def _value(name: str, value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name == "embedding_size" and value == 0:
        return "onehot"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _line(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return _line(text).replace("|", "\\|").replace("<", "&lt;").replace(" -> ", " → ")


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
    print(f"wrote {PAGE}", file=sys.stderr)
