"""The commands that markdown files show, run for real; knows nothing of what any command should print.

In a ```console block a line that starts with `$ ` is a command, and the lines below it are its output, standard error
included. `...` stands for any text. `ohlol serve ... &` starts a server, at a free port that
is shown as 8000, and `curl` asks it. Numbers with a decimal point may differ a little, as another machine adds up in
another order; everything else must be equal. A ```python block is run too: a comment after a `print` is its output.

`python tests/docs/transcripts.py README.md ...` writes the real output into the files, keeping a block that is right,
and otherwise as many first and last lines as stood around a line `...`. README.zh-CN.md takes the blocks of README.md.
"""

import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(console|python)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
DECIMAL = re.compile(r"\d+\.\d+")
PORT = 8000
"""Of `ohlol serve`, as the pages show it."""
EXACT, LOOSE = 2e-3, 0.25
"""Relative tolerance of decimals: the tutorial's few operations, and trainings of thousands of steps."""


@dataclass
class Entry:
    """One command and the output shown below it, or one piece of Python and the output its comments show."""

    kind: str
    """"console" or "python"."""
    code: str
    shown: str
    line: int


def blocks(markdown: str) -> Iterator[tuple[str, str, int]]:
    """Kind, body and line of each block that is run."""
    for match in BLOCK.finditer(markdown):
        yield match[1], match[2], markdown[: match.start()].count("\n") + 2


def entries(markdown: str) -> list[Entry]:
    """Everything a file says can be run, in order."""
    found: list[Entry] = []
    for kind, body, line in blocks(markdown):
        if kind == "python":
            found.append(Entry(kind, body, _printed(body), line))
            continue
        if not body.startswith("$ "):
            raise ValueError(f"line {line}: a console block must start with a command")
        for number, text in enumerate(body.splitlines()):
            if text.startswith("$ "):
                found.append(Entry(kind, text.removeprefix("$ "), "", line + number))
            else:
                found[-1].shown += text + "\n"
    return found


def _printed(code: str) -> str:
    return "".join(line.split("  # ", 1)[1] + "\n" for line in code.splitlines() if "print(" in line and "  # " in line)


class Place:
    """A temporary folder with the examples, in which entries are run one after the other."""

    def __init__(self, folder: Path):
        self.folder = folder
        shutil.copytree(ROOT / "examples", folder / "examples")
        self.names: dict[str, object] = {"__name__": "__main__"}
        self.server: subprocess.Popen[str] | None = None
        self.port = PORT

    def __enter__(self) -> "Place":
        return self

    def __exit__(self, *_: object) -> None:
        if self.server is not None:
            self.server.terminate()
            self.server.communicate()
            self.server = None

    def _served(self, arguments: list[str]) -> str:
        """Start a server, in place of the one that was; what it says first."""
        self.__exit__()
        command = [sys.executable, "-m", "ohlol", *arguments, "--port", "0"]
        self.server = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, text=True)
        assert self.server.stdout is not None
        line = self.server.stdout.readline()
        self.port = int(re.search(r":(\d+)/", line)[1])  # pyright: ignore[reportOptionalSubscript]
        return tidy(line.replace(f":{self.port}/", f":{PORT}/"))

    def run(self, entry: Entry) -> str | None:
        """What an entry prints; None where it is not for running here (make, pip)."""
        if entry.kind == "python":
            code = entry.code.replace(f":{PORT}/", f":{self.port}/")
            return self._captured(lambda: exec(compile(code, f"line {entry.line}", "exec"), self.names))
        command, given = entry.code, ""
        if command.startswith("echo ") and " | " in command:
            said, command = command.split(" | ", 1)
            given = " ".join(shlex.split(said)[1:]) + "\n"
        words = shlex.split(command, comments=True)
        if words[:2] == ["ohlol", "serve"] and words[-1] == "&":
            return self._served(words[1:-1])
        if words[0] == "curl" and self.server is not None:
            asked = [word.replace(f":{PORT}/", f":{self.port}/") for word in words]
            return tidy(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)
        if words[0] != "ohlol":
            _check(words)
            return None
        return self._captured(lambda: self._ohlol(words[1:]), given)

    def _ohlol(self, arguments: list[str]) -> None:
        from ohlol.cli import main

        try:
            main(arguments)
        except SystemExit as end:
            if end.code not in (0, 2, None):
                raise RuntimeError(f"ohlol {shlex.join(arguments)} ended with {end.code}") from end

    def _captured(self, call, given: str = "") -> str:
        output, said = io.StringIO(), io.TextIOWrapper(io.BytesIO(given.encode()), "utf-8")
        terminal = {"COLUMNS": "80", "LC_ALL": "C.UTF-8"}
        streams = redirect_stdout(output), redirect_stderr(output), patch("sys.stdin", said)
        with patch.dict(os.environ, terminal), streams[0], streams[1], streams[2], chdir(self.folder):
            call()
        return tidy(output.getvalue())


def _check(words: list[str]) -> None:
    """A command of another program: `make TARGET` must exist, `pip install` must name a folder or this package."""
    if words[0] == "make":
        targets = re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        asked = [word for word in words[1:] if "=" not in word]
        variables = [word.split("=")[0] for word in words[1:] if "=" in word]
        assert asked, "make without a target"
        assert set(asked) <= set(targets), f"no such target: {asked}"
        assert set(variables) <= {"PIP_FLAGS", "PYTHON"}, f"no such variable: {variables}"
    elif words[:2] == ["pip", "install"]:
        assert any(re.fullmatch(r"\.(\[[a-z,]+\])?", word) for word in words[2:]), "pip install without a package"
    else:
        assert words[0] in ("git", "cd"), f"{words[0]} is not run by this test"


def tidy(text: str) -> str:
    """Without spaces at the ends of lines and empty lines around, which markdown cannot show well."""
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines()).strip("\n")


def differs(entry: Entry, real: str) -> str | None:
    """What is wrong with the output an entry shows; None where it is right."""
    shown = tidy(entry.shown)
    if not shown and entry.kind == "python":
        return None
    pieces = re.split(r"(\.\.\.|\d+\.\d+)", shown)
    pattern = "".join(".*?" if p == "..." else r"(\d+\.\d+)" if DECIMAL.fullmatch(p) else re.escape(p) for p in pieces)
    found = re.fullmatch(pattern, real, re.DOTALL)
    if not found:
        return f"line {entry.line}: {entry.code}\nshown:\n{shown}\nreal:\n{real}"
    exact = entry.code.startswith("ohlol train") and not re.search(r"[^ ]\.[a-z]+( |$)", entry.code)
    for was, now in zip(filter(DECIMAL.fullmatch, pieces), found.groups(), strict=True):
        if abs(float(was) - float(now)) > (EXACT if exact else LOOSE) * max(abs(float(was)), 0.1):
            return f"line {entry.line}: {entry.code}\nshows {was}, really {now}:\n{real}"
    return None


def _shortened(shown: str, real: str) -> str:
    """Real output, its speeds elided, and its middle where the middle was elided before."""
    lines = re.sub(r"[\d,]+ symbols/s", "... symbols/s", real).splitlines()
    before = shown.splitlines()
    if "..." in before:
        head, tail = before.index("..."), len(before) - 1 - before.index("...")
        lines = [*lines[:head], "...", *lines[len(lines) - tail :]]
    return "\n".join(lines) + "\n" if lines else ""


def update(file: Path) -> str:
    """A file's text with real output in its console blocks."""
    text = file.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as held:
        place, made = held.enter_context(Place(Path(folder))), {}
        for entry in entries(text):
            real = place.run(entry)
            if real is not None and (wrong := differs(entry, real)):
                print(f"{file.name}: {wrong}\n", file=sys.stderr)
                made[entry.line] = entry.code, _shortened(entry.shown, real)
    lines, kept, line = text.splitlines(keepends=True), [], 0
    while line < len(lines):
        kept.append(lines[line])
        line += 1
        if line in made and lines[line - 1].startswith("$ "):
            kept.append(made[line][1])
            while not lines[line].startswith(("$ ", "```")):
                line += 1
    return "".join(kept)


def with_blocks_of(text: str, other: str) -> str:
    """A translation with the runnable blocks of the original."""
    bodies = iter([match[0] for match in BLOCK.finditer(other)])
    return BLOCK.sub(lambda match: next(bodies, match[0]), text)


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)  # as in the tests
    for name in sys.argv[1:]:
        Path(name).write_text(update(Path(name)), encoding="utf-8")
    translation = ROOT / "README.zh-CN.md"
    if translation.exists():
        original = (ROOT / "README.md").read_text(encoding="utf-8")
        again = with_blocks_of(translation.read_text(encoding="utf-8"), original)
        translation.write_text(again, encoding="utf-8")
