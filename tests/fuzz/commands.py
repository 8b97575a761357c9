"""Run a command line in a forked process, where torch is already imported, and check how it ends."""

import os
import re
import resource
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from faults.runs import context

SECONDS = 20.0
"""After which a command is interrupted, as with Ctrl-C: it trains for many epochs, say."""
SERVING = 2.0
"""After which a server is interrupted."""
GRACE = 30.0
"""Seconds within which an interrupted command must end."""
MEMORY = 2 << 30
"""Bytes by which the memory of a process may grow: the largest text that is read at once has 128 MiB."""
MESSAGE_LIMIT = 4000
"""Bytes of the longest line on standard error."""
NO_CONTROL = re.compile(r"[^\x00-\x08\x0b-\x1f\x7f-\x9f]*")
"""Text without control characters but tabs and line feeds."""


@dataclass
class Ended:
    """How a command ended."""

    arguments: tuple[str, ...]
    status: int
    err: str
    """What it wrote to standard error."""
    memory: int
    """Bytes by which its memory grew."""
    interrupted: bool
    """Whether it was interrupted, since it took longer than `SECONDS`."""


def run_command(
    folder: Path,
    results: Path,
    arguments: tuple[str, ...],
    *,
    stdin: bytes = b"",
    file_size: int | None = None,
    seconds: float = SECONDS,
) -> Ended:
    """Run a command line in `folder`.

    Args:
        folder: the working directory.
        results: a directory outside `folder`, for what the command prints.
        arguments: the arguments of `ohlol`; half a surrogate pair stands for a byte that is not UTF-8.
        stdin: what the command can read from standard input.
        file_size: bytes of the largest file that the process may write, as on a disk that is almost full; at least
            `MESSAGE_LIMIT`, since standard error is a file, too.
        seconds: after which the command is interrupted.
    """
    (results / "stdin").write_bytes(stdin)
    for name in ("stdout", "stderr", "memory"):
        (results / name).unlink(missing_ok=True)
    process = context.Process(target=_run, args=(str(folder), str(results), arguments, file_size))
    process.start()
    process.join(seconds)
    interrupted = process.exitcode is None
    if interrupted:
        assert process.pid is not None
        os.kill(process.pid, signal.SIGINT)
        process.join(GRACE)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise AssertionError(f"{arguments} does not end after {seconds} s and SIGINT")
    memory = results / "memory"
    return Ended(
        arguments=arguments,
        status=process.exitcode,
        err=(results / "stderr").read_bytes().decode("utf-8", "backslashreplace"),
        memory=int(memory.read_text() or 0) if memory.exists() else 0,
        interrupted=interrupted,
    )


def _run(folder: str, results: str, arguments: tuple[str, ...], file_size: int | None) -> None:
    import torch

    from ohlol.cli import main

    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    memory = os.open(f"{results}/memory", os.O_WRONLY | os.O_CREAT)
    for number, name in ((0, "stdin"), (1, "stdout"), (2, "stderr")):
        os.dup2(os.open(f"{results}/{name}", os.O_RDWR | os.O_CREAT), number)
    sys.stdin = os.fdopen(0, encoding="utf-8", errors="surrogateescape")
    os.chdir(folder)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    if file_size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, limits[1]))
    try:
        main(list(arguments))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
        os.write(memory, str(grown).encode())


def check_end(ended: Ended) -> None:
    """A command succeeds, reports bad input in one line, or was interrupted; it never shows a traceback."""
    shown = (ended.arguments, ended.status, ended.err[-3000:])
    assert ended.status in (0, 2, 130), shown
    assert "Traceback" not in ended.err, shown
    assert NO_CONTROL.fullmatch(ended.err), shown
    lines = ended.err.splitlines()
    assert all(len(line.encode()) < MESSAGE_LIMIT for line in lines), shown
    if ended.status == 2:
        errors = [line for line in lines if not line.startswith("ohlol: warning: ")]
        assert len(errors) == 1, shown
        assert errors[0].startswith("ohlol: "), shown
    assert ended.memory < MEMORY, (ended.arguments, ended.memory)


@dataclass(frozen=True)
class State:
    """The size and the times of a file: a file that is written anew has another one."""

    inode: int
    size: int
    changed: int


def snapshot(folder: Path) -> dict[str, State]:
    """The state of everything below a directory, without following links."""
    states: dict[str, State] = {}
    for place, directories, files in os.walk(folder):
        for name in (*directories, *files):
            path = os.path.join(place, name)
            status = os.lstat(path)
            is_directory = os.path.isdir(path) and not os.path.islink(path)
            states[os.path.relpath(path, folder)] = State(
                status.st_ino, 0 if is_directory else status.st_size, 0 if is_directory else status.st_mtime_ns
            )
    return states
