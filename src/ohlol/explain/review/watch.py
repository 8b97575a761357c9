"""Runs a program in a process of its own and collects what the shapes of its tensors showed."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ohlol.explain.review.check import CHECKS
from ohlol.explain.review.findings import Finding
from ohlol.explain.review.program import read_program
from ohlol.utils.errors import InputError, shorten
from ohlol.utils.translation import translate

WATCHER = "ohlol.explain.review.watcher"


@dataclass(frozen=True)
class Call:
    """A call of a recurrent layer: the line of the program, the layer, and its input as it reads it."""

    line: int
    layer: str
    shape: str


@dataclass(frozen=True)
class Watched:
    """What a run of a program showed.

    Attributes:
        findings: the mistakes.
        calls: the first call of a recurrent layer at each line.
        error: the error that ended the program, empty where there was none.
        is_stopped: whether it was stopped at the time limit.
    """

    findings: list[Finding]
    calls: list[Call]
    error: str = ""
    is_stopped: bool = False


def watch(path: Path | str, *, seconds: float = 60, show_output: bool = False) -> Watched:
    """Run a program and watch its recurrent layers, losses and optimizer steps.

    Args:
        path: a Python file; it runs as `python FILE` would, without arguments and without input.
        seconds: it is stopped after this time.
        show_output: whether what it prints goes to standard error; it is discarded otherwise.

    Raises:
        InputError: the file is no Python program, or `seconds` is not positive.
    """
    if not seconds > 0:
        raise InputError("`seconds` is {seconds:g}; it must be greater than 0", seconds=seconds)
    program = read_program(Path(path))
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.jsonl"
        status = _run([sys.executable, "-m", WATCHER, str(path), str(report)], seconds, show_output=show_output)
        lines = report.read_text(encoding="utf-8").splitlines() if report.exists() else []
    events: list[dict[str, Any]] = [json.loads(line) for line in lines if line.endswith("}")]
    findings = {(event["line"], event["check"]): event for event in events if "check" in event}
    errors = [event["error"] for event in events if "error" in event]
    if not errors and status not in (0, None):
        errors = [translate("it ended with status {status}", status=status)]
    return Watched(
        [_finding(program.name, program.lines, event) for event in findings.values()],
        [Call(event["line"], event["layer"], event["shape"]) for event in events if "shape" in event],
        shorten(errors[0]) if errors else "",
        status is None,
    )


def _run(command: list[str], seconds: float, *, show_output: bool) -> int | None:
    """Run a command in a session of its own; returns its status, or None where it was stopped at the time limit."""
    sink = sys.stderr.fileno() if show_output else subprocess.DEVNULL
    environment = os.environ | {"MPLBACKEND": "Agg"}  # a window would wait to be closed
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=environment, start_new_session=True
    )
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if hasattr(os, "killpg"):
            with suppress(ProcessLookupError, PermissionError):  # its own processes, such as those of a data loader
                os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()


def _finding(name: str, lines: list[str], event: dict[str, Any]) -> Finding:
    check = CHECKS[event["check"]]
    line = max(1, min(event["line"], len(lines)))
    code = lines[line - 1] if lines else ""
    column = len(code) - len(code.lstrip()) + 1
    return Finding(name, line, column, check.name, code.strip(), check.why, event["instead"], event["detail"])
