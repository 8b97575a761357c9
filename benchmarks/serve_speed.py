"""Requests a second of `ohlol serve` with batches and without, side by side; and many streams and clients at once.

    python benchmarks/serve_speed.py batches [--hidden H] [--layers L] [--symbols T] [--clients N] [--rounds N]
    python benchmarks/serve_speed.py load [--sessions N] [--clients N] [--seconds S]

`batches`: two servers of the same model, one with `--batch-size 1`, are asked in turns, A B A B, each by N clients that
send their next request when they have the answer; the medians of the rounds are compared. `load`: N sessions that read
symbol by symbol and N clients that predict, all at once on one server. Every answer is checked against the model, and a
wrong or missing one ends the program. The clients run in this process, on the same machine as the server, and are as
plain as can be: what they cost is part of every figure.
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
from typing import Any

from websockets.asyncio.client import connect

import ohlol
from ohlol.inference.trained_model import TrainedModel

ALPHABET = "abcdefghijklmnopqrstuvwxyz "
CLOSE = 1e-4
"""Of a probability: a batch adds up in another order than one sequence, and the answer has six digits."""


@dataclass
class Seen:
    """What the clients of one kind saw."""

    seconds: list[float] = field(default_factory=list[float])
    """Of each answer."""
    wrong: int = 0
    lost: int = 0
    whole: float = 0.0
    """Seconds from the first request to the last answer, which comes after the time is up."""

    def __str__(self) -> str:
        at = sorted(self.seconds)
        p50, p99 = (1000 * at[int(len(at) * q)] for q in (0.5, 0.99))
        return f"{len(at):,} answers, p50 {p50:.1f} ms, p99 {p99:.1f} ms, {self.wrong} wrong, {self.lost} lost"


class Client:
    """One connection that is kept, one request at a time."""

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


def texts(count: int, symbols: int, seed: int = 0) -> list[str]:
    """Random texts, of half to the whole length."""
    chance = random.Random(seed)
    return ["".join(chance.choices(ALPHABET, k=chance.randint(max(symbols // 2, 1), symbols))) for _ in range(count)]


def labels_of(model: TrainedModel, some: list[str]) -> dict[str, tuple[list[str], list[float]]]:
    """What the model itself says of each text."""
    found = model.predict_many(some)
    return {text: (p.labels, p.probability) for text, p in zip(some, found, strict=True)}


def same(told: tuple[list[str], list[float]], wanted: tuple[list[str], list[float]]) -> bool:
    """Whether probabilities are near, and labels equal wherever two are not as likely as each other."""
    if len(told[0]) != len(wanted[0]):
        return False
    return all(
        abs(p - q) < CLOSE and (a == b or max(p, q) < 0.5 + CLOSE)
        for a, b, p, q in zip(told[0], wanted[0], told[1], wanted[1], strict=True)
    )


async def predicting(port: int, wanted: dict[str, Any], clients: int, seconds: float, name: str = "model") -> Seen:
    """Clients that ask one after the other until the time is up."""
    seen, until, some = Seen(), time.perf_counter() + seconds, list(wanted)

    async def one(number: int) -> None:
        chance = random.Random(number)
        async with Client(port) as client:
            while time.perf_counter() < until:
                text = chance.choice(some)
                began = time.perf_counter()
                status, body = await client.post(f"/v1/models/{name}/predict", json.dumps({"inputs": text}).encode())
                seen.seconds.append(time.perf_counter() - began)
                if status != 200:
                    seen.lost += 1
                    continue
                told = json.loads(body)["predictions"][0]
                seen.wrong += not same((told["labels"], told["probabilities"]), wanted[text])

    began = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(clients)))
    seen.whole = time.perf_counter() - began
    return seen


async def streaming(port: int, wanted: dict[str, Any], sessions: int, seconds: float, name: str = "model") -> Seen:
    """Sessions that read texts symbol by symbol until the time is up, all open before the first begins."""
    seen, some = Seen(), list(wanted)
    opened = asyncio.Barrier(sessions)

    async def one(number: int) -> None:
        chance = random.Random(number)
        async with connect(f"ws://127.0.0.1:{port}/v1/models/{name}/stream", proxy=None, open_timeout=60) as socket:
            await socket.recv()
            await opened.wait()
            until = time.perf_counter() + seconds
            while time.perf_counter() < until:
                text = chance.choice(some)
                told: tuple[list[str], list[float]] = ([], [])
                for place, symbol in enumerate(text):
                    began = time.perf_counter()
                    await socket.send(json.dumps({"reset": place == 0, "read": symbol}))
                    answer = json.loads(await socket.recv())
                    seen.seconds.append(time.perf_counter() - began)
                    if "steps" not in answer:
                        seen.lost += 1
                        break
                    told[0].append(answer["steps"][0]["label"])
                    told[1].append(answer["steps"][0]["probability"])
                else:
                    seen.wrong += not same(told, wanted[text])

    await asyncio.gather(*(one(number) for number in range(sessions)))
    return seen


class Server:
    """`ohlol serve` in a process of its own."""

    def __init__(self, run: Path, *flags: str):
        command = [sys.executable, "-m", "ohlol", "serve", f"model={run}", "--port", "0", *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        found = re.search(r":(\d+)/", self.process.stdout.readline())
        assert found is not None, "no server"
        self.port = int(found[1])

    def cpu(self) -> float:
        """Seconds of processor time that it has used; NaN where the system does not say."""
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


def model_of(folder: Path, hidden: int, layers: int, *, both: bool) -> TrainedModel:
    """A labeller of characters of some size; it need not be a good one."""
    pairs = [(text, text.upper()) for text in texts(40, 30, seed=1)]
    return ohlol.fit(
        pairs, cell="lstm", head=True, hidden_size=hidden, num_layers=layers, bidirectional=both, embedding_size=64,
        epochs=2, lr=3e-3, bigram_size=0, char_rnn_size=0, out=folder / "run",
    )  # fmt: skip


def batches(given: argparse.Namespace, folder: Path) -> None:
    """With and without, in turns."""
    model = model_of(folder, given.hidden, given.layers, both=True)
    wanted = labels_of(model, texts(200, given.symbols))
    run = model.run
    assert run is not None
    print(
        f"lstm {given.layers} x {given.hidden}, both directions, texts of {given.symbols // 2} to {given.symbols} "
        f"symbols, {given.clients} clients"
    )
    with Server(run, "--batch-size", "1", "--batch-wait", "0") as alone, Server(run) as together:
        rates: dict[str, list[float]] = {"one by one": [], "in batches": []}
        costs: dict[str, list[float]] = {name: [] for name in rates}
        for number in range(given.rounds + 1):
            for name, server in (("one by one", alone), ("in batches", together)):
                before = server.cpu()
                seen = asyncio.run(predicting(server.port, wanted, given.clients, given.seconds))
                if seen.wrong or seen.lost:
                    raise SystemExit(f"{name}: {seen}")
                if number:  # the first round warms up
                    rates[name].append(len(seen.seconds) / seen.whole)
                    costs[name].append(1000 * (server.cpu() - before) / len(seen.seconds))
                    print(f"  {name}: {rates[name][-1]:,.0f} requests/s, {costs[name][-1]:.2f} ms of processor, {seen}")
    one, many = (statistics.median(values) for values in rates.values())
    print(f"one by one {one:,.1f}, in batches {many:,.1f} requests/s: {many / one:.1f} times")
    one, many = (statistics.median(values) for values in costs.values())
    print(f"one by one {one:.1f}, in batches {many:.1f} ms of processor a request: {one / many:.1f} times")


def load(given: argparse.Namespace, folder: Path) -> None:
    """Streams and clients at once."""
    model = model_of(folder, given.hidden, given.layers, both=False)
    wanted = labels_of(model, texts(100, given.symbols))
    assert model.run is not None
    with Server(model.run, "--max-sessions", str(given.sessions)) as server:

        async def both() -> tuple[Seen, Seen]:
            return await asyncio.gather(
                streaming(server.port, wanted, given.sessions, given.seconds),
                predicting(server.port, wanted, given.clients, given.seconds),
            )

        streams, clients = asyncio.run(both())
    print(f"lstm {given.layers} x {given.hidden}, {given.seconds:g} s")
    print(f"{given.sessions} sessions, a symbol a message: {streams}")
    print(f"{given.clients} clients, a text of {given.symbols // 2} to {given.symbols} symbols a request: {clients}")
    if streams.wrong + streams.lost + clients.wrong + clients.lost:
        raise SystemExit("wrong or lost answers")


def main() -> None:
    """Parse and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("batches", "load"))
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--symbols", type=int, default=40)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        (batches if given.what == "batches" else load)(given, Path(folder))


if __name__ == "__main__":
    main()
