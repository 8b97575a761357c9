"""Starts the processes of a run with torchrun."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
ENVIRONMENT = {**os.environ, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "OMP_NUM_THREADS": "1"}


def torchrun(processes: int, *arguments: str, restarts: int = 0) -> list[str]:
    """The command of a run by several processes on this host, at a port that is free."""
    return [
        *TORCHRUN,
        f"--nproc-per-node={processes}",
        "--rdzv-backend=c10d",
        "--rdzv-endpoint=localhost:0",
        f"--max-restarts={restarts}",
        "--monitor-interval=0.1",
        *arguments,
    ]


def train(processes: int, *arguments: str, restarts: int = 0) -> list[str]:
    """`ohlol train` by some processes."""
    if processes == 1:
        return [sys.executable, "-m", "ohlol", "train", *arguments]
    return torchrun(processes, "-m", "ohlol", "train", *arguments, restarts=restarts)


def together(command: list[str], folder: Path, size: int = 2) -> list["subprocess.Popen[str]"]:
    """Start the processes of a run without torchrun, so that each process keeps its own exit status."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    common = {**ENVIRONMENT, "MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "WORLD_SIZE": str(size)}
    return [
        subprocess.Popen(
            command,
            cwd=folder,
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for rank in range(size)
    ]


def start(command: list[str], folder: Path) -> "subprocess.Popen[str]":
    """Start a command, its output in pipes."""
    return subprocess.Popen(
        command, cwd=folder, env=ENVIRONMENT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def run(command: list[str], folder: Path, expected: int = 0) -> tuple[str, str]:
    """Run a command to its end and return its output."""
    process = start(command, folder)
    out, err = process.communicate()
    assert process.returncode == expected, f"{command} ended with {process.returncode}:\n{out}\n{err}"
    return out, err


def workers(of: int) -> list[int]:
    """The process ids of the child processes of a torchrun."""
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        if int(fields[1]) == of and fields[0] != "Z":
            found.append(int(path.parent.name))
    return sorted(found)


def flags(settings: dict[str, Any]) -> list[str]:
    """Settings as flags of the command line."""
    return [part for name, value in settings.items() for part in ("--" + name.replace("_", "-"), str(value))]
