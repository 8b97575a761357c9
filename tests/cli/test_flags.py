"""Settings in messages become flags, and only the command line does that."""

import ast
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

import ohlol
from ohlol.cells import CELLS
from ohlol.cli import app
from ohlol.cli.flags import commands_of, flags_of, name_flags
from ohlol.config import DataSettings, ModelSettings, TrainSettings
from ohlol.models.heads import HEADS
from ohlol.tasks import TASKS

SOURCE = Path(ohlol.__file__).parent
ALLOWED = {
    "display/texts.py": "the page shows a command to copy",
    "checkpoint/model_card.py": "the model card shows a command to copy",
    "tasks/next.py": "the model card shows a command to copy",
    "utils/devices.py": "--nproc-per-node is torchrun's",
    "utils/distributed.py": "--max-restarts is torchrun's",
}
"""Modules outside `cli` whose text names a flag, and why."""


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("`lr` is 0; it must be greater than 0", "--lr is 0; it must be greater than 0"),
        ("give `header=True`", "give --header"),
        ("give `bidirectional=False`", "give --unidirectional"),
        ("a lower `lr` or `precision=bf16`", "a lower --lr or --precision bf16"),
        ("`ohlol train` makes one", "`ohlol train` makes one"),
        ("it has no `colour`", "it has no `colour`"),
        ("encode it without `targets=False`", "encode it without --no-targets"),
    ],
)
def test_settings_become_flags(message: str, expected: str) -> None:
    assert name_flags(message, app) == expected


def test_the_commands_own_options_come_first() -> None:
    for name, command in commands_of(app).items():
        own = flags_of(app, name)
        for option in command.params:
            if option.param_type_name == "option":
                assert own[option.name][0] == option.opts[0]


def test_a_setting_and_its_flag_have_the_same_name() -> None:
    for name, (flag, _) in flags_of(app).items():
        stem = name.removeprefix("as_").removeprefix("start_")  # "as" and "from" are no names in Python
        assert flag == "--" + stem.replace("_", "-")


def test_every_setting_of_a_run_has_a_flag() -> None:
    flags = flags_of(app, "train")
    assert {name for kind in (DataSettings, ModelSettings, TrainSettings) for name in vars(kind())} <= set(flags)


def test_library_code_names_no_flags() -> None:
    named: list[str] = []
    for path in sorted(SOURCE.rglob("*.py")):
        module = path.relative_to(SOURCE)
        if module.parts[0] == "cli" or module.as_posix() in ALLOWED:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and re.search(r"(?<!\S)`?--[a-z]", node.value)
            ):
                named.append(f"{module}:{node.lineno}")
    assert named == []


@pytest.mark.parametrize(("option", "members"), [("cell", CELLS), ("task", TASKS), ("head", HEADS)])
def test_the_help_lists_every_member_of_a_registry(option: str, members: Mapping[str, object]) -> None:
    """The help has the names as text, so that it needs no torch."""
    (text,) = (parameter.help for parameter in commands_of(app)["train"].params if parameter.name == option)
    listed = re.search(r": ([^.;]+)", text)
    assert listed
    assert sorted(re.split(", | or ", listed[1])) == sorted(members)
