"""Damaged runs, corpora and studies: a command reads them, or refuses them in one line, and changes no file."""

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from faults.damaged_files import damage
from fuzz.commands import check_end, run_command, snapshot
from fuzz.examples import fuzz
from fuzz.workspace import RUNS, Workspace
from hypothesis import example, given
from hypothesis import strategies as st

pytestmark = pytest.mark.slow

COMMANDS: dict[str, tuple[str, ...]] = {
    "label": (
        "predict label abc",
        "predict label pairs.tsv --output-format jsonl --n-best 2",
        "evaluate label pairs.tsv",
        "explain label abc",
        "explain label abc --epoch 1",
        "explain label abc --neurons",
        "explain label abc --html new.html",
        "plot label",
        "prove label",
        "export label new.onnx --step",
        "import label/model.safetensors --task label --out new",
        "encode pairs.tsv --vocab label --out new",
        "train --resume --out label",
        "serve --port 0 label",
    ),
    "next": (
        "predict next text.txt",
        "generate next --prompt the --length 5",
        "evaluate next corpus",
        "explain next the",
        "train --resume --out next",
    ),
    "classify": (
        "predict classify names.csv",
        "explain classify bdla",
        "plot classify",
        "train --resume --out classify",
    ),
    "regress": (
        "predict regress sizes.csv",
        "evaluate regress sizes.csv",
        "train --resume --out regress",
    ),
    "multilabel": (
        "predict multilabel sets.jsonl",
        "evaluate multilabel sets.jsonl",
        "train --resume --out multilabel",
    ),
    "next_row": (
        "predict next_row sine.csv --steps 3",
        "evaluate next_row sine.csv",
        "train --resume --out next_row",
    ),
    "forecast": (
        "predict forecast sales.csv --future sales-next.csv",
        "evaluate forecast sales.csv",
        "backtest forecast sales.csv",
        "train --resume --out forecast",
    ),
    "corpus": (
        "train corpus --hidden-size 4 --epochs 1 --embedding-size 3 --out new",
        "encode --check --out corpus",
        "encode text.txt --out corpus",
        "encode text.txt --vocab corpus --out new",
        "evaluate next corpus",
        "predict next corpus --out new",
    ),
    "study": (
        "plot study",
        "plot study --out new.png",
        "tune text.txt --out study --trials 3 --hidden-size 4 --epochs 1 --embedding-size 3",
    ),
}
"""The commands that read each directory. Those with `train` and `tune` continue what is there."""
CONTINUES = ("--resume", "tune", "encode text.txt --out corpus")
"""A command with one of these may change the directory."""
REPLACEMENTS: tuple[Any, ...] = (
    None, True, -1, 0, 10**30, 1e300, 1.5, "", "x" * 3000, "\x1b[2J", "\ud800", "[/b]", "../../x", "/dev/zero",
    [], {}, [None], {"a": 1}, [["a", "b"]], ["x"] * 50,
)  # fmt: skip
"""What takes the place of a value of JSON."""


def replace_value(path: Path, chance: random.Random) -> None:
    """Replace a value of a JSON file, at any depth, and remove its checksum."""
    data = json.loads(path.read_bytes())
    data.pop("sha256", None)
    container: Any = data
    while True:
        keys = list(container) if isinstance(container, dict) else list(range(len(container)))
        if not keys:
            return
        key = chance.choice(keys)
        if isinstance(container[key], dict | list) and container[key] and chance.random() < 0.8:
            container = container[key]
            continue
        if isinstance(container, dict) and chance.random() < 0.1:
            del container[key]
        else:
            container[key] = chance.choice(REPLACEMENTS)
        break
    path.write_text(json.dumps(data), encoding="utf-8")


def replace_header(path: Path, chance: random.Random) -> None:
    """Replace a value of the header of a safetensors file."""
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = path.with_name("header.json")
    header.write_bytes(raw[8 : 8 + size])
    replace_value(header, chance)
    new = header.read_bytes()
    header.unlink()
    path.write_bytes(len(new).to_bytes(8, "little") + new + raw[8 + size :])


def change(path: Path, how: str, chance: random.Random, other: Path) -> None:
    """Damage a file, or put something else in its place."""
    if how == "value" and path.suffix == ".json":
        replace_value(path, chance)
    elif how == "value" and path.suffix == ".safetensors":
        replace_header(path, chance)
    elif how in ("bytes", "value"):
        path.write_bytes(damage(path.read_bytes(), chance))
    elif how == "large":
        os.truncate(path, LARGE)
    else:
        path.unlink()
        if how == "directory":
            path.mkdir()
        elif how == "pipe":
            os.mkfifo(path)
        elif how == "other":
            shutil.copy(other, path)
        elif how != "missing":
            path.symlink_to(how)


LARGE = 1 << 40
"""Bytes of a sparse file that no command may read."""
CHANGES = ("value", "value", "value", "bytes", "bytes", "large", "missing", "directory", "pipe", "other", "/dev/zero",
           "loop", "/dev/full", "../text.txt")  # fmt: skip
directories = st.sampled_from([(name, command) for name, commands in COMMANDS.items() for command in commands])


@fuzz(40)
@given(case=directories, changes=st.lists(st.tuples(st.integers(0, 1000), st.sampled_from(CHANGES)), min_size=1,
       max_size=2), seed=st.integers(0, 10**6))  # fmt: skip
@example(("classify", "predict classify names.csv"), [(0, "pipe")], 0)
def test_a_damaged_directory(
    workspace: Workspace, case: tuple[str, str], changes: list[tuple[int, str]], seed: int
) -> None:
    workspace.restore()
    name, command = case
    chance = random.Random(seed)
    files = sorted(path for path in (workspace.folder / name).rglob("*") if path.is_file())
    others = sorted(path for run in RUNS for path in (workspace.copy / run).rglob("*") if path.is_file())
    for number, how in changes:
        path = files[number % len(files)]
        if path.is_file() and not path.is_symlink() and path.stat().st_size < LARGE:
            change(path, how, chance, chance.choice(others))
    before = snapshot(workspace.folder)
    ended = run_command(
        workspace.folder, workspace.results, tuple(command.split(" ")), seconds=2 if "serve" in command else 20
    )
    check_end(ended)
    assert not ended.interrupted or "serve" in command
    after = snapshot(workspace.folder)
    if not any(word in command for word in CONTINUES):
        changed = {path for path, state in before.items() if after.get(path) != state}
        assert not changed, (command, changed)
