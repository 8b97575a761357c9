"""Requests a second of `ohlol serve` with batching and without; and many streams and clients at once.

    python benchmarks/serve_speed.py batches [--hidden H] [--layers L] [--clients N] [--rounds N] [--quick]
    python benchmarks/serve_speed.py load [--sessions N] [--clients N] [--seconds S] [--quick]

`batches`: two servers of the same model, one with `--batch-size 1`, answer in turns the requests of N clients, which
send the next request when they have the answer; the medians of the rounds are compared. `load`: N sessions that read
symbol by symbol and N clients that predict, all at once on one server. Every answer is checked against the model, and
no speed is shown where one is wrong or missing. The clients run in this process, on the same machine as the server;
their cost is part of every figure.
"""

import argparse
import asyncio
import json
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

from timing import parse_arguments
from websockets.asyncio.client import connect

import ohlol
from ohlol.inference.trained_model import TrainedModel

ALPHABET = "abcdefghijklmnopqrstuvwxyz "
TOLERANCE = 1e-4
"""Of a probability: a batch adds up in another order than one sequence, and the answer has six digits."""


@dataclass
class Answers:
    """The answers that the clients of one kind got."""

    seconds: list[float] = field(default_factory=list[float])
    """Latency of each answer."""
    wrong: int = 0
    lost: int = 0
    duration: float = 0.0
    """Seconds from the first request to the last answer, which comes after the time is up."""

    def __str__(self) -> str:
        ordered = sorted(self.seconds)
        p50, p99 = (1000 * ordered[int(len(ordered) * q)] for q in (0.5, 0.99))
        return f"{len(ordered):,} answers, p50 {p50:.1f} ms, p99 {p99:.1f} ms, {self.wrong} wrong, {self.lost} lost"


class Client:
    """A persistent connection, one request at a time."""

    def __init__(self, port: int):
        self.port = port

    async def __aenter__(self) -> "Client":
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Status and body of the answer."""
        head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{self.port}\r\ncontent-type: application/json\r\n"
        self.writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        answer = await self.reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", answer)
        assert length is not None
        return int(answer[9:12]), await self.reader.readexactly(int(length[1]))


def random_texts(count: int, symbols: int, seed: int = 0) -> list[str]:
    """Random texts, of half to the whole length."""
    generator = random.Random(seed)
    lengths = [generator.randint(max(symbols // 2, 1), symbols) for _ in range(count)]
    return ["".join(generator.choices(ALPHABET, k=length)) for length in lengths]


Labels = tuple[list[str], list[float]]
"""The label of each symbol, and its probability."""


def predict_labels(model: TrainedModel, texts: list[str]) -> dict[str, Labels]:
    """The predictions of the model itself for each text."""
    predictions = model.predict_many(texts)
    return {text: (p.labels, p.probability) for text, p in zip(texts, predictions, strict=True)}


def are_equal(answer: Labels, expected: Labels) -> bool:
    """Whether probabilities are close, and labels equal except where two are equally likely."""
    if len(answer[0]) != len(expected[0]):
        return False
    return all(
        abs(p - q) < TOLERANCE and (a == b or max(p, q) < 0.5 + TOLERANCE)
        for a, b, p, q in zip(answer[0], expected[0], answer[1], expected[1], strict=True)
    )


async def run_clients(port: int, expected: dict[str, Labels], clients: int, seconds: float) -> Answers:
    """Clients that send requests one after the other until the time is up."""
    answers, until, texts = Answers(), time.perf_counter() + seconds, list(expected)

    async def run_client(number: int) -> None:
        generator = random.Random(number)
        async with Client(port) as client:
            while time.perf_counter() < until:
                text = generator.choice(texts)
                started = time.perf_counter()
                status, body = await client.post("/v1/models/model/predict", json.dumps({"inputs": text}).encode())
                answers.seconds.append(time.perf_counter() - started)
                if status != 200:
                    answers.lost += 1
                    continue
                prediction = json.loads(body)["predictions"][0]
                answer = prediction["labels"], prediction["probabilities"]
                answers.wrong += not are_equal(answer, expected[text])

    started = time.perf_counter()
    await asyncio.gather(*(run_client(number) for number in range(clients)))
    answers.duration = time.perf_counter() - started
    return answers


async def run_sessions(port: int, expected: dict[str, Labels], sessions: int, seconds: float) -> Answers:
    """Sessions that read texts symbol by symbol until the time is up, all open before the first begins."""
    answers, texts = Answers(), list(expected)
    all_open = asyncio.Barrier(sessions)

    async def run_session(number: int) -> None:
        generator = random.Random(number)
        async with connect(f"ws://127.0.0.1:{port}/v1/models/model/stream", proxy=None, open_timeout=60) as socket:
            await socket.recv()
            await all_open.wait()
            until = time.perf_counter() + seconds
            while time.perf_counter() < until:
                text = generator.choice(texts)
                labels: Labels = ([], [])
                for position, symbol in enumerate(text):
                    started = time.perf_counter()
                    await socket.send(json.dumps({"reset": position == 0, "read": symbol}))
                    answer = json.loads(await socket.recv())
                    answers.seconds.append(time.perf_counter() - started)
                    if "steps" not in answer:
                        answers.lost += 1
                        break
                    labels[0].append(answer["steps"][0]["label"])
                    labels[1].append(answer["steps"][0]["probability"])
                else:
                    answers.wrong += not are_equal(labels, expected[text])

    await asyncio.gather(*(run_session(number) for number in range(sessions)))
    return answers


class Server:
    """`ohlol serve` in a process of its own."""

    def __init__(self, run: Path, *flags: str):
        command = [sys.executable, "-m", "ohlol", "serve", f"model={run}", "--port", "0", *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        address = re.search(r":(\d+)/", self.process.stdout.readline())
        assert address is not None, "the server did not start"
        self.port = int(address[1])

    def cpu(self) -> float:
        """Seconds of processor time of the server; NaN where the system does not say."""
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


def train_model(folder: Path, hidden: int, layers: int, *, bidirectional: bool) -> TrainedModel:
    """A labeller of characters of some size; its quality does not matter."""
    pairs = [(text, text.upper()) for text in random_texts(40, 30, seed=1)]
    return ohlol.fit(
        pairs, cell="lstm", head="softmax", hidden_size=hidden, num_layers=layers, bidirectional=bidirectional,
        embedding_size=64, epochs=2, lr=3e-3, bigram_size=0, char_rnn_size=0, out=folder / "run",
    )  # fmt: skip


def compare_batching(options: argparse.Namespace, folder: Path) -> None:
    """Measure a server with batching and one without in turns."""
    model = train_model(folder, options.hidden, options.layers, bidirectional=True)
    expected = predict_labels(model, random_texts(200, options.symbols))
    assert model.run is not None
    print(
        f"lstm {options.layers} x {options.hidden}, both directions, texts of {options.symbols // 2} to "
        f"{options.symbols} symbols, {options.clients} clients"
    )
    with Server(model.run, "--batch-size", "1", "--batch-wait", "0") as single, Server(model.run) as batching:
        rates: dict[str, list[float]] = {"one by one": [], "in batches": []}
        costs: dict[str, list[float]] = {name: [] for name in rates}
        for round_number in range(options.rounds + 1):
            for name, server in (("one by one", single), ("in batches", batching)):
                before = server.cpu()
                answers = asyncio.run(run_clients(server.port, expected, options.clients, options.seconds))
                if answers.wrong or answers.lost:
                    raise SystemExit(f"{name}: {answers}: no speed is shown")
                if round_number:  # the first round warms up
                    rates[name].append(len(answers.seconds) / answers.duration)
                    costs[name].append(1000 * (server.cpu() - before) / len(answers.seconds))
                    print(
                        f"  {name}: {rates[name][-1]:,.0f} requests/s, {costs[name][-1]:.2f} ms of processor, {answers}"
                    )
    single_rate, batching_rate = (statistics.median(values) for values in rates.values())
    print(
        f"one by one {single_rate:,.1f}, in batches {batching_rate:,.1f} requests/s: "
        f"{batching_rate / single_rate:.1f} times"
    )
    single_cost, batching_cost = (statistics.median(values) for values in costs.values())
    ratio = single_cost / batching_cost if batching_cost else float("nan")  # the system counts in hundredths of seconds
    print(f"one by one {single_cost:.1f}, in batches {batching_cost:.1f} ms of processor a request: {ratio:.1f} times")


def measure_load(options: argparse.Namespace, folder: Path) -> None:
    """Measure streams and clients at once."""
    model = train_model(folder, options.hidden, options.layers, bidirectional=False)
    expected = predict_labels(model, random_texts(100, options.symbols))
    assert model.run is not None
    with Server(model.run, "--max-sessions", str(options.sessions)) as server:

        async def run_both() -> tuple[Answers, Answers]:
            return await asyncio.gather(
                run_sessions(server.port, expected, options.sessions, options.seconds),
                run_clients(server.port, expected, options.clients, options.seconds),
            )

        streams, clients = asyncio.run(run_both())
    if streams.wrong + streams.lost + clients.wrong + clients.lost:
        raise SystemExit(f"streams: {streams}; clients: {clients}: no speed is shown")
    print(f"lstm {options.layers} x {options.hidden}, {options.seconds:g} s")
    print(f"{options.sessions} sessions, a symbol a message: {streams}")
    lengths = f"{options.symbols // 2} to {options.symbols} symbols"
    print(f"{options.clients} clients, a text of {lengths} a request: {clients}")


def main() -> None:
    """Run one of the two commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("batches", "load"))
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--symbols", type=int, default=40)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=5)
    options = parse_arguments(parser, hidden=16, symbols=8, clients=4, sessions=4, seconds=0.3, rounds=1)
    with tempfile.TemporaryDirectory() as folder:
        (compare_batching if options.command == "batches" else measure_load)(options, Path(folder))


if __name__ == "__main__":
    main()
