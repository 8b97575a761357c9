"""Requests per second of `ohlol serve` with batches and without; and many streams and clients at once.

    python benchmarks/serve_speed.py batches [--hidden H] [--layers L] [--symbols T] [--rounds N] [--quick]
    python benchmarks/serve_speed.py load [--sessions N] [--clients N] [--seconds S] [--quick]

`batches` starts two servers of one model, one with `--batch-size 1`, and measures them in turns, A B A B. Each of N
clients sends its next request when it has the response; the medians of the rounds are compared. `load` runs N sessions
that read symbol by symbol and N clients that predict, all at once on one server. Every response is compared with the
model, and a wrong or missing one ends the program. The clients run in this process, on the machine of the server, and
their cost is part of every figure.
"""

import argparse
import asyncio
import json
import math
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from timing import parse_arguments
from websockets.asyncio.client import connect

import ohlol
from ohlol.inference.trained_model import TrainedModel

ALPHABET = "abcdefghijklmnopqrstuvwxyz "
CLOSE = 1e-4
"""Tolerance of a probability: a batch is summed in another order than one sequence, and responses have six digits."""


@dataclass
class Result:
    """Responses to the clients of one kind."""

    seconds: list[float] = field(default_factory=list[float])
    """Of each response."""
    wrong: int = 0
    lost: int = 0
    total: float = 0.0
    """Seconds from the first request to the last response, which comes after the time is over."""

    def __str__(self) -> str:
        ordered = sorted(self.seconds)
        p50, p99 = (1000 * ordered[int(len(ordered) * q)] for q in (0.5, 0.99))
        return f"{len(ordered):,} responses, p50 {p50:.1f} ms, p99 {p99:.1f} ms, {self.wrong} wrong, {self.lost} lost"


class Client:
    """One keep-alive connection, with one request at a time."""

    def __init__(self, port: int):
        self.port = port

    async def __aenter__(self) -> "Client":
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Send a request; status and body of the response."""
        head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{self.port}\r\ncontent-type: application/json\r\n"
        self.writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        answer = await self.reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", answer)
        assert length is not None
        return int(answer[9:12]), await self.reader.readexactly(int(length[1]))


def make_texts(count: int, symbols: int, seed: int = 0) -> list[str]:
    """Random texts, from half to the whole length."""
    rng = random.Random(seed)
    return ["".join(rng.choices(ALPHABET, k=rng.randint(max(symbols // 2, 1), symbols))) for _ in range(count)]


def predict_labels(model: TrainedModel, texts: list[str]) -> dict[str, tuple[list[str], list[float]]]:
    """Labels and probabilities of each text, by the model itself."""
    predictions = model.predict_many(texts)
    return {text: (p.labels, p.probability) for text, p in zip(texts, predictions, strict=True)}


def is_close(actual: tuple[list[str], list[float]], expected: tuple[list[str], list[float]]) -> bool:
    """Whether probabilities are close, and labels equal except where two are equally probable."""
    if len(actual[0]) != len(expected[0]):
        return False
    return all(
        abs(p - q) < CLOSE and (a == b or max(p, q) < 0.5 + CLOSE)
        for a, b, p, q in zip(actual[0], expected[0], actual[1], expected[1], strict=True)
    )


async def run_clients(port: int, expected: dict[str, Any], clients: int, seconds: float, name: str = "model") -> Result:
    """Clients that send one request after the other until the time is over."""
    result, deadline, texts = Result(), time.perf_counter() + seconds, list(expected)

    async def one(number: int) -> None:
        rng = random.Random(number)
        async with Client(port) as client:
            while time.perf_counter() < deadline:
                text = rng.choice(texts)
                start = time.perf_counter()
                status, body = await client.post(f"/v1/models/{name}/predict", json.dumps({"inputs": text}).encode())
                result.seconds.append(time.perf_counter() - start)
                if status != 200:
                    result.lost += 1
                    continue
                prediction = json.loads(body)["predictions"][0]
                result.wrong += not is_close((prediction["labels"], prediction["probabilities"]), expected[text])

    start = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(clients)))
    result.total = time.perf_counter() - start
    return result


async def run_sessions(
    port: int, expected: dict[str, Any], sessions: int, seconds: float, name: str = "model"
) -> Result:
    """Sessions that read texts symbol by symbol until the time is over; all are open before the first starts."""
    result, texts = Result(), list(expected)
    opened = asyncio.Barrier(sessions)

    async def one(number: int) -> None:
        rng = random.Random(number)
        async with connect(f"ws://127.0.0.1:{port}/v1/models/{name}/stream", proxy=None, open_timeout=60) as socket:
            await socket.recv()
            await opened.wait()
            deadline = time.perf_counter() + seconds
            while time.perf_counter() < deadline:
                text = rng.choice(texts)
                actual: tuple[list[str], list[float]] = ([], [])
                for position, symbol in enumerate(text):
                    start = time.perf_counter()
                    await socket.send(json.dumps({"reset": position == 0, "read": symbol}))
                    answer = json.loads(await socket.recv())
                    result.seconds.append(time.perf_counter() - start)
                    if "steps" not in answer:
                        result.lost += 1
                        break
                    actual[0].append(answer["steps"][0]["label"])
                    actual[1].append(answer["steps"][0]["probability"])
                else:
                    result.wrong += not is_close(actual, expected[text])

    await asyncio.gather(*(one(number) for number in range(sessions)))
    return result


class Server:
    """`ohlol serve` in its own process."""

    def __init__(self, run: Path, *flags: str):
        command = [sys.executable, "-m", "ohlol", "serve", f"model={run}", "--port", "0", *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        address = re.search(r":(\d+)/", self.process.stdout.readline())
        assert address is not None, "no server"
        self.port = int(address[1])

    def cpu_seconds(self) -> float:
        """Processor time of the process in seconds; NaN where the system does not report it."""
        try:
            user, system = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
        except OSError:
            return float("nan")
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()


def train_model(folder: Path, hidden: int, layers: int, *, both: bool) -> TrainedModel:
    """A model of some size that labels characters; its accuracy does not matter."""
    pairs = [(text, text.upper()) for text in make_texts(40, 30, seed=1)]
    return ohlol.fit(
        pairs, cell="lstm", head="softmax", hidden_size=hidden, num_layers=layers, bidirectional=both,
        embedding_size=64, epochs=2, lr=3e-3, bigram_size=0, char_rnn_size=0, out=folder / "run",
    )  # fmt: skip


def batches(args: argparse.Namespace, folder: Path) -> None:
    """Measure with and without batches, in turns."""
    model = train_model(folder, args.hidden, args.layers, both=True)
    expected = predict_labels(model, make_texts(200, args.symbols))
    run = model.run
    assert run is not None
    print(
        f"lstm {args.layers} x {args.hidden}, both directions, texts of {args.symbols // 2} to {args.symbols} "
        f"symbols, {args.clients} clients"
    )
    with Server(run, "--batch-size", "1", "--batch-wait", "0") as alone, Server(run) as together:
        rates: dict[str, list[float]] = {"one by one": [], "in batches": []}
        costs: dict[str, list[float]] = {name: [] for name in rates}
        for number in range(args.rounds + 1):
            for name, server in (("one by one", alone), ("in batches", together)):
                before = server.cpu_seconds()
                result = asyncio.run(run_clients(server.port, expected, args.clients, args.seconds))
                if result.wrong or result.lost:
                    raise SystemExit(f"{name}: {result}: no speed is shown")
                if number:  # the first round warms up
                    rates[name].append(len(result.seconds) / result.total)
                    costs[name].append(1000 * (server.cpu_seconds() - before) / len(result.seconds))
                    print(
                        f"  {name}: {rates[name][-1]:,.0f} requests/s, {costs[name][-1]:.2f} ms of processor, {result}"
                    )
    one, many = (statistics.median(values) for values in rates.values())
    print(f"one by one {one:,.1f}, in batches {many:,.1f} requests/s: {many / one:.1f} times")
    one, many = (statistics.median(values) for values in costs.values())
    ratio = one / many if many else math.nan  # the system counts in hundredths of seconds
    print(f"one by one {one:.1f}, in batches {many:.1f} ms of processor a request: {ratio:.1f} times")


def load(args: argparse.Namespace, folder: Path) -> None:
    """Measure streams and clients at once."""
    model = train_model(folder, args.hidden, args.layers, both=False)
    expected = predict_labels(model, make_texts(100, args.symbols))
    assert model.run is not None
    with Server(model.run, "--max-sessions", str(args.sessions)) as server:

        async def both() -> tuple[Result, Result]:
            return await asyncio.gather(
                run_sessions(server.port, expected, args.sessions, args.seconds),
                run_clients(server.port, expected, args.clients, args.seconds),
            )

        streams, clients = asyncio.run(both())
    if streams.wrong + streams.lost + clients.wrong + clients.lost:
        raise SystemExit(f"sessions: {streams}; clients: {clients}: no speed is shown")
    print(f"lstm {args.layers} x {args.hidden}, {args.seconds:g} s")
    print(f"{args.sessions} sessions, a symbol a message: {streams}")
    print(f"{args.clients} clients, a text of {args.symbols // 2} to {args.symbols} symbols a request: {clients}")


def main() -> None:
    """Parse the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("batches", "load"))
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--symbols", type=int, default=40)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=5)
    args = parse_arguments(parser, hidden=16, symbols=8, clients=4, sessions=4, seconds=0.3, rounds=1)
    with tempfile.TemporaryDirectory() as folder:
        (batches if args.what == "batches" else load)(args, Path(folder))


if __name__ == "__main__":
    main()
