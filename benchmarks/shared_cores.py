"""Two threads against one beside other busy processes, or under a quota: layers, training, prediction and server.

    python benchmarks/shared_cores.py [--busy N] [--quota X] [--threads N] [--rounds N] [--quick]

Each program runs in a process with `OMP_NUM_THREADS` 1 and in one with N; without `--threads` the variable is not set
there, and torch has a thread for each processor. They take turns, A B A B, and the medians are compared. `--busy`
starts N endless loops on each processor; `--quota` puts all processes into a control group that may use X processors'
worth of time, which needs the right to make one.
"""

import argparse
import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import Any

from serve_speed import Server, make_texts, predict_labels, run_clients, train_model
from timing import parse_arguments

LAYERS = {"RNN": (30, 8, 200), "LSTM": (20, 32, 64), "GRU": (30, 8, 200)}
"""T, B and H of the layers that are trained."""
PROGRAMS = (*LAYERS, "train", "predict", "serve")
"""`serve` is a server and its clients; a worker runs each of the others."""
PERIOD = 100_000
"""Microseconds after which a quota is renewed."""


def prepare(name: str, folder: Path, calls: int) -> Callable[[], object]:
    """The program of a worker: so many calls of a layer, a training or a prediction of some size."""
    import torch

    import ohlol

    if name in LAYERS:
        T, B, H = LAYERS[name]
        layer, x = getattr(ohlol.nn, name)(H, H), torch.randn(T, B, H)
        return lambda: [layer(x)[0].sum().backward() for _ in range(calls)]
    texts = make_texts(20 * calls, 60)
    if name == "train":
        text = folder / "text.txt"
        text.write_text("\n".join(texts))
        return lambda: ohlol.fit(text, hidden_size=128, epochs=1, batch_size=8, out=folder / "train", overwrite=True)
    model = train_model(folder, 128, 1, both=True)
    return lambda: list(model.predict_many(texts))


def work(name: str, calls: int) -> None:
    """Run the program once for each line of the standard input, and print how many seconds it took."""
    with tempfile.TemporaryDirectory() as folder:
        run = prepare(name, Path(folder), calls)
        run()
        for _ in sys.stdin:
            started = time.perf_counter()
            run()
            print(time.perf_counter() - started, flush=True)


class Worker:
    """A program in its own process."""

    def __init__(self, name: str, calls: int):
        command = [sys.executable, __file__, "--worker", name, "--calls", str(calls)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self) -> float:
        """The seconds of a round."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()


class ServedModel:
    """A server whose clients run in this process."""

    def __init__(self, run: Path, expected: dict[str, Any], seconds: float):
        self.server, self.expected, self.seconds = Server(run), expected, seconds

    def run(self) -> float:
        """The seconds of a request, of 8 clients."""
        result = asyncio.run(run_clients(self.server.port, self.expected, 8, self.seconds))
        if result.wrong or result.lost:
            raise SystemExit(f"serve: {result}: no speed is shown")
        return result.total / len(result.seconds)

    def __enter__(self) -> "ServedModel":
        return self

    def __exit__(self, *_: object) -> None:
        self.server.__exit__()


@contextlib.contextmanager
def busy_processes(count: int) -> Generator[None]:
    """So many endless loops on each processor."""
    command = "import os, sys; os.sched_setaffinity(0, [int(sys.argv[1])])\nwhile True: pass"
    processors = sorted(os.sched_getaffinity(0)) * count
    loops = [subprocess.Popen([sys.executable, "-c", command, str(processor)]) for processor in processors]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


@contextlib.contextmanager
def limit_processors(quota: float) -> Generator[None]:
    """Move this process, and those that it starts, into a control group of version 1 or 2 with a quota."""
    root = Path("/sys/fs/cgroup")
    root = root / "cpu" if (root / "cpu").is_dir() else root
    group = root / f"ohlol-{os.getpid()}"
    group.mkdir()
    try:
        if (group / "cpu.max").exists():
            (group / "cpu.max").write_text(f"{int(quota * PERIOD)} {PERIOD}")
        else:
            (group / "cpu.cfs_period_us").write_text(str(PERIOD))
            (group / "cpu.cfs_quota_us").write_text(str(int(quota * PERIOD)))
        (group / "cgroup.procs").write_text(str(os.getpid()))
        yield
    finally:
        (root / "cgroup.procs").write_text(str(os.getpid()))
        group.rmdir()


def measure(name: str, start: Callable[[], Worker | ServedModel], threads: int | None, rounds: int) -> None:
    """Start a program twice, and print the median times with one thread and with several."""
    with contextlib.ExitStack() as stack:
        runs: dict[int | None, Worker | ServedModel] = {}
        for count in (1, threads):
            if count is None:
                del os.environ["OMP_NUM_THREADS"]
            else:
                os.environ["OMP_NUM_THREADS"] = str(count)
            runs[count] = stack.enter_context(start())
        seconds: dict[int | None, list[float]] = {count: [] for count in runs}
        for number in range(rounds + 1):
            for count, program in runs.items():
                elapsed = program.run()
                if number:  # the first round warms up
                    seconds[count].append(elapsed)
    one, several = (statistics.median(values) for values in seconds.values())
    number = "default" if threads is None else f"{threads} threads"
    print(f"{name}: 1 thread {one * 1e3:.2f} ms, {number} {several * 1e3:.2f} ms, {one / several:.2f}x", flush=True)


def main() -> None:
    """Parse the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--busy", type=int, default=0)
    parser.add_argument("--quota", type=float)
    parser.add_argument("--programs", nargs="*", choices=PROGRAMS, default=PROGRAMS)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=30, help="calls of a layer in a round, and the size of the others")
    parser.add_argument("--seconds", type=float, default=1.0, help="of the clients of the server in a round")
    parser.add_argument("--worker", choices=PROGRAMS, help=argparse.SUPPRESS)
    args = parse_arguments(parser, programs=["RNN", "predict", "serve"], rounds=1, calls=1, seconds=0.1)
    if args.worker is not None:
        work(args.worker, args.calls)
        return
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        model = train_model(folder, 128, 1, both=True)
        assert model.run is not None
        run, expected = model.run, predict_labels(model, make_texts(100, 60))
        if args.quota is not None:
            stack.enter_context(limit_processors(args.quota))
        stack.enter_context(busy_processes(args.busy))

        def start(name: str) -> Worker | ServedModel:
            return ServedModel(run, expected, args.seconds) if name == "serve" else Worker(name, args.calls)

        for name in args.programs:
            measure(name, partial(start, name), args.threads, args.rounds)


if __name__ == "__main__":
    main()
