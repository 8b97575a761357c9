"""A server in a process of its own, at a free port of this machine, with small models of every kind."""

import asyncio
import base64
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
from helpers import TINY, names_file, sine_file, text_file, upper_pairs

import ohlol

T = TypeVar("T")

SECONDS = 60.0
"""For a server to come up, and for an answer: far more than either takes, as the machine may be busy."""
KEY = "0123456789-a-key-of-tests"
MODELS = ("hello", "upper", "text", "names", "sine")


def train_all(folder: Path) -> dict[str, Path]:
    """A run of every task; `upper` reads from both ends, the others in one direction."""
    one_way = {**TINY, "bidirectional": False}
    runs = {name: folder / name for name in MODELS}
    ohlol.fit([("hello", "ohlol")], seed=1, out=runs["hello"])
    ohlol.fit(upper_pairs(folder / "pairs.tsv"), out=runs["upper"], bidirectional=True, bigram_size=4, **TINY)
    ohlol.fit(text_file(folder / "text.txt"), out=runs["text"], **one_way)
    ohlol.fit(names_file(folder / "names.csv"), input="name", target="kind", out=runs["names"], **one_way)
    ohlol.fit(sine_file(folder / "sine.csv"), task="forecast", out=runs["sine"], **one_way)
    return runs


@dataclass
class Served:
    """One server at work: `ohlol serve` with some runs and flags."""

    runs: Sequence[str]
    flags: Sequence[str] = ()
    environment: dict[str, str] = field(default_factory=dict[str, str])
    port: int = 0
    started: Callable[[], object] = lambda: None
    """Called once the server has said its line."""

    def __enter__(self) -> "Served":
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **self.environment}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ohlol", "serve", *self.runs, "--port", str(self.port), *self.flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"http://(\S+):(\d+)/", line)
        if found is None:
            raise AssertionError(f"no server: {line}{self.process.communicate()[1]}")
        self.host, self.port = found[1].strip("[]"), int(found[2])
        self.url = f"http://{found[1]}:{self.port}"
        self.started()
        self._wait()
        return self

    def _wait(self) -> None:
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            try:
                if httpx.get(f"{self.url}/readyz", trust_env=False).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise AssertionError("the server did not come up")

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.out, self.err = self.process.communicate(timeout=SECONDS)

    def kill(self) -> None:
        """As the system does it, without a word."""
        self.process.kill()
        self.process.wait()

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=SECONDS, trust_env=False, **options)

    @property
    def socket_url(self) -> str:
        return self.url.replace("http", "ws", 1)

    def cpu(self) -> float:
        """Seconds of processor time that the process has used, which a busy machine does not stretch."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> int:
        """Bytes of memory that the process holds."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize()


def in_protocol(key: str) -> str:
    """A key as a browser hands it to a WebSocket."""
    return "ohlol.key." + base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def events(text: str) -> list[tuple[str, Any]]:
    """Server-sent events: their names and contents."""
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "data" in lines:
            found.append((lines.get("event", "message"), json.loads(lines["data"])))
    return found


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a thread of its own: the browser of the page tests has a loop in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
