"""Servers for tests: one in its own process, one in a thread; and small models of every task."""

import asyncio
import base64
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
from helpers import (
    MOVES,
    SALES,
    TINY,
    lengths_file,
    moves_file,
    names_file,
    sales_file,
    sets_file,
    sine_file,
    text_file,
    upper_pairs,
)

import ohlol
from ohlol.serve.access import Access
from ohlol.serve.limits import Limits
from ohlol.serve.metrics import Metrics
from ohlol.serve.models import Models
from ohlol.serve.run import listen
from ohlol.serve.server import Server
from ohlol.serve.service import Service

T = TypeVar("T")

SECONDS = 60.0
"""For a server to start and for a response: far more than either takes, since the machine may be busy."""
KEY = "0123456789-a-key-of-tests"
MODELS = ("hello", "upper", "text", "names", "sizes", "sets", "sine", "shops", "moves", "slopes")


def train_models(folder: Path) -> dict[str, Path]:
    """A run of every task; `upper` is bidirectional, the others read in one direction."""
    one_way = {**TINY, "bidirectional": False}
    runs = {name: folder / name for name in MODELS}
    ohlol.fit([("hello", "ohlol")], seed=1, out=runs["hello"])
    ohlol.fit(upper_pairs(folder / "pairs.tsv"), out=runs["upper"], bidirectional=True, bigram_size=4, **TINY)
    ohlol.fit(text_file(folder / "text.txt"), out=runs["text"], **one_way)
    ohlol.fit(names_file(folder / "names.csv"), input="name", target="kind", out=runs["names"], **one_way)
    sizes = {"task": "regress", "input": "name", "target": "size"}
    ohlol.fit(lengths_file(folder / "sizes.csv"), out=runs["sizes"], **sizes, **one_way)
    sets = {"task": "multilabel", "input": "name", "target": "letters"}
    ohlol.fit(sets_file(folder / "sets.jsonl"), out=runs["sets"], **sets, **one_way)
    ohlol.fit(sine_file(folder / "sine.csv"), task="next_row", out=runs["sine"], **one_way)
    ohlol.fit(sales_file(folder / "sales.csv"), out=runs["shops"], **SALES, **one_way)
    ohlol.fit(moves_file(folder / "moves.csv"), out=runs["moves"], **MOVES, **one_way)
    slopes = moves_file(folder / "slopes.csv", quantity=True)
    ohlol.fit(slopes, task="regress", out=runs["slopes"], **MOVES, **{**TINY, "bidirectional": True})
    return runs


@dataclass
class ServerProcess:
    """`ohlol serve` with some runs and flags, in its own process and at a free port of this machine."""

    runs: Sequence[str]
    flags: Sequence[str] = ()
    environment: dict[str, str] = field(default_factory=dict[str, str])
    port: int = 0
    on_start: Callable[[], object] = lambda: None
    """Called once the server has printed its address."""

    def __enter__(self) -> "ServerProcess":
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
        address = re.search(r"http://(\S+):(\d+)/", line)
        if address is None:
            raise AssertionError(f"no server: {line}{self.process.communicate()[1]}")
        self.host, self.port = address[1].strip("[]"), int(address[2])
        self.url = f"http://{address[1]}:{self.port}"
        self.on_start()
        self._wait_until_ready()
        return self

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"{self.url}/readyz", trust_env=False).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise AssertionError("the server did not start")

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.out, self.err = self.process.communicate(timeout=SECONDS)

    @property
    def returncode(self) -> int | None:
        return self.process.returncode

    def assert_no_errors(self) -> None:
        """Check the log of a server that has stopped."""
        assert "Traceback" not in self.err, self.err
        assert "ERROR" not in self.err, self.err

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.process.kill()
        self.process.wait()

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=SECONDS, trust_env=False, **options)

    @property
    def socket_url(self) -> str:
        return self.url.replace("http", "ws", 1)

    def cpu_seconds(self) -> float:
        """Processor time of the process, which does not depend on how busy the machine is."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> int:
        """Bytes of memory of the process."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize()


@contextmanager
def serve_in_thread(run: Path, *, key: str | None = None, **limits: Any) -> Iterator[str]:
    """A server of one run in a thread of this process, with limits that have no flag; its URL."""
    chosen, metrics = Limits(**limits), Metrics()
    service = Service(Models({run.name: run}, chosen, metrics.observe_batch), Access(key), chosen, metrics)
    with listen("127.0.0.1", 0) as listening:
        started = threading.Event()
        server = Server(service, listening, on_start=started.set)
        thread = threading.Thread(target=server.run)
        thread.start()
        assert started.wait(SECONDS)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.stop()
            thread.join()


def wait_for(condition: Callable[[], bool], message: str) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(message)
        time.sleep(0.02)


def encode_key_protocol(key: str) -> str:
    """The subprotocol with which a browser gives a key to a WebSocket."""
    return "ohlol.key." + base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def parse_events(text: str) -> list[tuple[str, Any]]:
    """Names and data of server-sent events."""
    events = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "data" in lines:
            events.append((lines.get("event", "message"), json.loads(lines["data"])))
    return events


def run_in_thread(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in its own thread: the browser of the page tests has an event loop in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
