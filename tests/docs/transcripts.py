"""Run the commands and the Python code that markdown pages show, and compare or rewrite the output shown.

In a ```console block a line that starts with `$ ` is a command, and the lines below it are its output, standard error
included. `...` stands for any text. `ohlol serve ... &` starts a server on a free port, which the page shows as 8000,
and `curl` sends it requests. Numbers with a decimal point may differ slightly, since the order of floating point
additions depends on the machine; of `ohlol bench` all numbers may. Everything else must be equal. A ```python block is
run too; the comment after a `print`, or the comment lines below it, are its output. Other blocks are not run. A ```py
block below a comment `<!-- include: FILE -->` shows that file.

`python tests/docs/transcripts.py [PAGE ...]` writes the real output and the included files into the pages, or into all
pages without an argument. A correct block is kept; in a wrong one, the lines beside `...` are replaced by the most
similar ones. A translation takes the blocks of the English page.
"""

import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from unittest.mock import patch

from ohlol.cells import CELLS
from ohlol.utils.errors import InputWarning

ROOT = Path(__file__).resolve().parents[2]
INCLUDED = re.compile(r"^<!-- include: (\S+) -->\n```py\n.*?^```$", re.DOTALL | re.MULTILINE)
BLOCK = re.compile(r"^```(console|python)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
DECIMAL = re.compile(r"\d+\.\d+")
VOLATILE = re.compile(
    r"(?<= ) *[\d,]+(?= steps/s)|(?<=onnxruntime )[\d.]+"
    r"|(?<=graph of ohlol )\S+|(?<=largest difference )[\d.e-]+\b|(?<=at most )[\d.e-]+\b|\b[\d.]+(?= s\b)"
)
"""What differs in every run or on every machine: speeds, times, versions and rounding errors."""
PORT = 8000
"""The port of `ohlol serve` in the pages."""
EXACT, LOOSE = 2e-3, 0.25
"""Relative tolerance of decimals: for the tutorial's few operations, and for trainings of thousands of steps."""
TRANSLATIONS = {"README.zh-CN.md": "README.md"} | {
    name: name.replace(".zh.md", ".md")
    for name in sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/**/*.zh.md"))
}
"""Pages whose blocks are copies of those of another page."""


@dataclass
class Entry:
    """One command with the output shown below it, or one piece of Python with the output its comments show."""

    kind: str
    """"console" or "python"."""
    code: str
    shown: str
    line: int


def pages() -> list[str]:
    """The pages that show commands or Python code, translations left out."""
    paths = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]
    names = sorted(
        path.relative_to(ROOT).as_posix() for path in paths if BLOCK.search(path.read_text(encoding="utf-8"))
    )
    return [name for name in names if name not in TRANSLATIONS]


def with_included_files(markdown: str) -> str:
    """A page with the current content of the files it includes."""

    def include(match: re.Match[str]) -> str:
        return f"<!-- include: {match[1]} -->\n```py\n{(ROOT / match[1]).read_text(encoding='utf-8')}```"

    return INCLUDED.sub(include, markdown)


def blocks(markdown: str) -> Iterator[tuple[str, str, int]]:
    """Kind, body and line of each block that is run."""
    for match in BLOCK.finditer(markdown):
        yield match[1], match[2], markdown[: match.start()].count("\n") + 2


def entries(markdown: str) -> list[Entry]:
    """All commands and pieces of Python of a page, in order."""
    result: list[Entry] = []
    for kind, body, line in blocks(markdown):
        if kind == "python":
            result.append(Entry(kind, body, _printed(body), line))
            continue
        if not body.startswith("$ "):
            raise ValueError(f"line {line}: a console block must start with a command")
        for number, text in enumerate(body.splitlines()):
            if text.startswith("$ "):
                result.append(Entry(kind, text.removeprefix("$ "), "", line + number))
            else:
                result[-1].shown += text + "\n"
    return result


def _printed(code: str) -> str:
    """The comment after each `print`, or the lines of comment below it."""
    printed, is_below = "", False
    for line in code.splitlines():
        if is_below and line.startswith("#"):
            printed += line[1:].removeprefix(" ") + "\n"
            continue
        is_below = "print(" in line and "  # " not in line
        if "print(" in line and "  # " in line:
            printed += line.split("  # ", 1)[1] + "\n"
    return printed


class Session:
    """A temporary folder with the examples, in which entries are run one after the other."""

    def __init__(self, folder: Path):
        self.folder = folder
        shutil.copytree(ROOT / "examples", folder / "examples")
        shutil.copy(ROOT / "examples/my_cell.py", folder)  # which docs/cells.md tells to save
        self.names: dict[str, object] = {"__name__": "__main__"}
        self.server: subprocess.Popen[str] | None = None
        self.port = PORT

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_server()
        # The cell was imported from this folder, which is about to be removed: another session imports its own copy.
        sys.modules.pop("my_cell", None)
        CELLS._members.pop("my_cell:MyCell", None)

    def _stop_server(self) -> None:
        if self.server is not None:
            self.server.terminate()
            self.server.communicate()
            self.server = None

    def _serve(self, arguments: list[str]) -> str:
        """Start a server in place of a previous one, and return its first line."""
        self._stop_server()
        command = [sys.executable, "-m", "ohlol", *arguments, "--port", "0"]
        self.server = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, text=True)
        assert self.server.stdout is not None
        line = self.server.stdout.readline()
        address = re.search(r":(\d+)/", line)
        assert address is not None, f"the server printed {line!r}"
        self.port = int(address[1])
        return tidy(line.replace(f":{self.port}/", f":{PORT}/"))

    def run(self, entry: Entry) -> str | None:
        """Run an entry and return its output, or None for commands that are only checked (make, pip)."""
        if entry.kind == "python":
            code = entry.code.replace(f":{PORT}/", f":{self.port}/")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", InputWarning)  # a comment shows what is printed
                return self._capture(lambda: exec(compile(code, f"line {entry.line}", "exec"), self.names))
        command, stdin = entry.code, ""
        if command.startswith("echo ") and " | " in command:
            echo, command = command.split(" | ", 1)
            stdin = " ".join(shlex.split(echo)[1:]) + "\n"
        words = shlex.split(command, comments=True)
        if words[:2] == ["ohlol", "serve"] and words[-1] == "&":
            return self._serve(words[1:-1])
        if words[0] == "curl" and self.server is not None:
            request = [word.replace(f":{PORT}/", f":{self.port}/") for word in words]
            return tidy(subprocess.run(request, capture_output=True, text=True, check=True).stdout)
        if words[0] != "ohlol":
            _check(words)
            return None
        return self._capture(lambda: self._ohlol(words[1:]), stdin)

    def _ohlol(self, arguments: list[str]) -> None:
        from ohlol.cli import main

        try:
            main(arguments)
        except SystemExit as end:
            if end.code not in (0, 2, None):
                raise RuntimeError(f"ohlol {shlex.join(arguments)} ended with {end.code}") from end

    def _capture(self, call: Callable[[], object], stdin: str = "") -> str:
        output, input_stream = io.StringIO(), io.TextIOWrapper(io.BytesIO(stdin.encode()), "utf-8")
        terminal = {"COLUMNS": "80", "LC_ALL": "C.UTF-8"}
        streams = redirect_stdout(output), redirect_stderr(output), patch("sys.stdin", input_stream)
        with patch.dict(os.environ, terminal), streams[0], streams[1], streams[2], chdir(self.folder):
            call()
        return tidy(output.getvalue())


def _check(words: list[str]) -> None:
    """Check a command of another program: `make TARGET` must exist, `pip install` must install this folder."""
    if words[0] == "make":
        targets = re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        requested = [word for word in words[1:] if "=" not in word]
        variables = [word.split("=")[0] for word in words[1:] if "=" in word]
        assert requested, "make without a target"
        assert set(requested) <= set(targets), f"no such target: {requested}"
        assert set(variables) <= {"PIP_FLAGS", "PYTHON"}, f"no such variable: {variables}"
    elif words[:2] == ["pip", "install"]:
        assert any(re.fullmatch(r"\.(\[[a-z,]+\])?", word) for word in words[2:]), "pip install without a package"
    else:
        assert words[0] in ("git", "cd"), f"{words[0]} is not run by this test"


def tidy(text: str) -> str:
    """Remove spaces at the ends of lines and empty lines around a text, which markdown cannot show well."""
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines()).strip("\n")


def differs(entry: Entry, real: str) -> str | None:
    """Compare the output an entry shows with the real one; returns the difference as a message, or None."""
    shown = tidy(entry.shown)
    if not shown and entry.kind == "python":
        return None
    mismatch = f"line {entry.line}: {entry.code}\nshown:\n{shown}\nreal:\n{real}"
    if entry.code.startswith("ohlol bench"):
        return None if _without_figures(shown) == _without_figures(real) else mismatch
    pieces = re.split(r"(\.\.\.|\d+\.\d+)", shown)
    pattern = "".join(".*?" if p == "..." else r"(\d+\.\d+)" if DECIMAL.fullmatch(p) else re.escape(p) for p in pieces)
    match = re.fullmatch(pattern, real, re.DOTALL)
    if not match:
        return mismatch
    exact = entry.code.startswith("ohlol train") and not re.search(r"[^ ]\.[a-z]+( |$)", entry.code)
    for before, now in zip(filter(DECIMAL.fullmatch, pieces), match.groups(), strict=True):
        if abs(float(before) - float(now)) > (EXACT if exact else LOOSE) * max(abs(float(before)), 0.1):
            return f"line {entry.line}: {entry.code}\nshows {before}, really {now}:\n{real}"
    return None


def _without_figures(table: str) -> str:
    """A table of timings without its numbers and the widths that follow from them."""
    return re.sub(r"─+|\s+", " ", re.sub(r"\d[\d.,]*", "0", table))


def shorten(shown: str, real: str) -> str:
    """Real output without what differs in every run, shortened where the shown output was."""
    lines = VOLATILE.sub("...", real).splitlines()
    old = shown.splitlines()
    if "..." in old:
        parts = _split(old, "...")
        kept = lines[: len(parts[0])]
        position = len(kept)
        for number, part in enumerate(parts[1:], start=1):
            last = number == len(parts) - 1
            position = len(lines) - len(part) if last else _locate(part, lines, position)
            kept += ["...", *lines[position : position + len(part)]]
            position += len(part)
        lines = kept
    return "\n".join(lines) + "\n" if lines else ""


def _split(lines: list[str], separator: str) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for line in lines:
        if line == separator:
            parts.append([])
        else:
            parts[-1].append(line)
    return parts


def _locate(part: list[str], lines: list[str], start: int) -> int:
    """The place from `start` on where lines are most similar to a part."""

    def similarity(place: int) -> float:
        pairs = zip(part, lines[place:], strict=False)
        return sum(SequenceMatcher(None, old, new, autojunk=False).ratio() for old, new in pairs)

    return max(range(start, max(start, len(lines) - len(part)) + 1), key=similarity)


def update(file: Path) -> str:
    """A page's text with the real output in its console blocks."""
    text = with_included_files(file.read_text(encoding="utf-8"))
    corrections: dict[int, str] = {}
    with tempfile.TemporaryDirectory() as folder, Session(Path(folder)) as session:
        for entry in entries(text):
            real = session.run(entry)
            if real is not None and (difference := differs(entry, real)):
                print(f"{file.name}: {difference}\n", file=sys.stderr)
                corrections[entry.line] = shorten(entry.shown, real)
    lines, kept, line = text.splitlines(keepends=True), [], 0
    while line < len(lines):
        kept.append(lines[line])
        line += 1
        if line in corrections and lines[line - 1].startswith("$ "):
            kept.append(corrections[line])
            while not lines[line].startswith(("$ ", "```")):
                line += 1
    return "".join(kept)


def with_blocks_of(text: str, other: str) -> str:
    """A translation with the blocks of the original that are run, and the current content of the files it includes."""
    bodies = iter([match[0] for match in BLOCK.finditer(other)])
    return BLOCK.sub(lambda match: next(bodies, match[0]), with_included_files(text))


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)  # as in the tests
    for name in sys.argv[1:] or [*pages(), "docs/extending.md"]:
        (ROOT / name).write_text(update(ROOT / name), encoding="utf-8")
    for translation, original in TRANSLATIONS.items():
        text = with_blocks_of(
            (ROOT / translation).read_text(encoding="utf-8"), (ROOT / original).read_text(encoding="utf-8")
        )
        (ROOT / translation).write_text(text, encoding="utf-8")
