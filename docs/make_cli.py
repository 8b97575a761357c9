"""Write docs/cli.md and docs/cli.zh.md from the command line: `python docs/make_cli.py`.

A test fails where they are stale.
"""

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import typer.main

from ohlol.cli import app
from ohlol.cli.help import default_text, value_name
from ohlol.config import TUTORIAL_MODEL, TUTORIAL_TRAIN, ModelSettings, TrainSettings
from ohlol.tasks import TASKS
from ohlol.utils.translation import use_language

PAGES = {"en": Path(__file__).with_name("cli.md"), "zh": Path(__file__).with_name("cli.zh.md")}
EXAMPLES = """```console
$ ohlol --version
ohlol ...
$ ohlol train missing.tsv
ohlol: missing.tsv: no such file
$ ohlol train examples/words.csv --input word --target tongue
ohlol: examples/words.csv:1: no column 'tongue'; there are 'word', 'language'
```
"""
KINDS = {"label, characters": ("label", "char"), "label, words": ("label", "word")} | {
    task: (task, "char") for task in ("next", "classify", "multilabel", "regress", "forecast", "next_row")
}
KINDS["classify, series"] = ("classify", "")
HEADS = {
    "en": """# Command line

<!-- Written by docs/make_cli.py; change that file, or the help texts in src/ohlol/cli. -->

`ohlol COMMAND --help` says the same on the terminal. `python -m ohlol` is `ohlol`.

| command | what it does |
|---|---|
{commands}
| `ohlol --version` | Print the version and exit. |

`--lang zh`, before the command or after it, prints Chinese; without it, [the environment](guide.md#language) decides.

Exit status: 0 done; 1 a bug, with a traceback; 2 bad input, with one line on stderr that names the file and the line or
the flag; 130 interrupted, after saving. `prove` exits with 1 if it finds a difference, `review --strict` if it finds a
mistake.

{examples}
What a file may hold is in [data.md](data.md), what a run directory holds in [run-directory.md](run-directory.md).
""",
    "zh": """# 命令行

<!-- 由 docs/make_cli.py 写出；请修改该文件，或 src/ohlol/cli 中的帮助及其翻译。 -->

`ohlol COMMAND --help` 在终端上显示同样的内容。`python -m ohlol` 就是 `ohlol`。

| 命令 | 用途 |
|---|---|
{commands}
| `ohlol --version` | 显示版本并退出。 |

`--lang zh` 可以写在命令之前或之后，对所有命令有效；不写时[由环境决定](guide.zh.md#语言)。

退出状态：0 完成；1 程序错误，带回溯信息；2 输入有误，在标准错误上用一行指出文件和行或选项；130 已中断并保存。
`prove` 发现差异时、`review --strict` 有发现时以 1 退出。

{examples}
文件可以包含什么见 [data.zh.md](data.zh.md)，运行目录包含什么见 [run-directory.zh.md](run-directory.zh.md)。
""",
}
DEFAULTS = {
    "en": """
### Defaults

What is not given depends on the kind of data. The first column is the tutorial's: without a file, or with `--pair`.
Where a file is short, `--epochs` rises by itself until the optimizer has taken enough steps, to 100 at most, and to
500 for series of numbers with a class or a number each.

| setting | tutorial | {kinds} |
|---|---|{rule}
{rows}
""",
    "zh": """
### 默认值

没有给出的设置取决于数据的种类。第一列是教程的设置：不给文件，或用 `--pair`。文件较短时 `--epochs` 会自动增大，
直到优化器走了足够多的步，至多 100；对每个带一个类别或数值的数值序列，至多 500。

| 设置 | 教程 | {kinds} |
|---|---|{rule}
{rows}
""",
}
TITLES = {
    "en": ("argument", "meaning", "flag", "default", ("none", "yes", "no")),
    "zh": ("参数", "含义", "选项", "默认值", ("无", "是", "否")),
}
"""The headings of the tables, and the values that are words."""


def reference(lang: str = "en") -> str:
    """The whole page."""
    with use_language(lang):
        commands: dict[str, Any] = typer.main.get_command(app).commands  # pyright: ignore
    rows = "\n".join(f"| [`{n}`](#ohlol-{n}) | {_line(c.help)} |" for n, c in commands.items())
    head = HEADS[lang].format(commands=rows, examples=EXAMPLES)
    return head + "".join(_command(name, command, lang) for name, command in commands.items())


def _command(name: str, command: Any, lang: str) -> str:
    argument, meaning, flag, default, _ = TITLES[lang]
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name != "argument"]
    usage = " ".join([f"ohlol {name}", *map(value_name, arguments), "[OPTIONS]"])
    parts = [f"\n## ohlol {name}\n\n{_line(command.help)}\n\n```\n{usage}\n```\n"]
    if arguments:
        rows = "\n".join(f"| `{_cell(value_name(p))}` | {_cell(p.help)} |" for p in arguments)
        parts.append(f"\n| {argument} | {meaning} |\n|---|---|\n{rows}\n")
    for panel in dict.fromkeys(p.rich_help_panel for p in options):
        title = f"\n### {panel}\n" if panel else ""
        rows = "\n".join(_option(p) for p in options if p.rich_help_panel == panel)
        parts.append(f"{title}\n| {flag} | {meaning} | {default} |\n|---|---|---|\n{rows}\n")
    if name == "train":
        parts.append(_defaults(lang))
    return "".join(parts)


def _option(parameter: Any) -> str:
    names = [f"`{name} {value_name(parameter)}".rstrip() + "`" for name in (*parameter.opts, *parameter.secondary_opts)]
    default = default_text(parameter)
    return f"| {', '.join(names)} | {_cell(parameter.help)} | {f'`{default}`' if default else ''} |"


def _defaults(lang: str) -> str:
    columns = [(TUTORIAL_MODEL, TUTORIAL_TRAIN), *(TASKS[task].defaults(level) for task, level in KINDS.values())]
    rows: list[str] = []
    for place, kind in enumerate((ModelSettings, TrainSettings)):
        for field in fields(kind):
            values = [getattr(column[place], field.name) for column in columns]
            flag = "--" + field.name.replace("_", "-")
            rows.append(f"| `{flag}` | " + " | ".join(_value(field.name, value, lang) for value in values) + " |")
    return DEFAULTS[lang].format(kinds=" | ".join(KINDS), rule="---|" * len(KINDS), rows="\n".join(rows))


def _value(name: str, value: Any, lang: str) -> str:
    none, yes, no = TITLES[lang][-1]
    if value is None:
        return none
    if isinstance(value, bool):
        return yes if value else no
    if name == "embedding_size" and value == 0:
        return "onehot"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _line(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return _line(text).replace("|", "\\|").replace("<", "&lt;").replace(" -> ", " → ")


if __name__ == "__main__":
    for language, page in PAGES.items():
        page.write_text(reference(language), encoding="utf-8")
        print(f"wrote {page}", file=sys.stderr)
