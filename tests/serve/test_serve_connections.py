"""Slow, huge, broken and leaving clients: they get their 4xx, hold nothing, and nobody else notices."""

import asyncio
import json
import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from unittest import mock

import pytest
from serving import SECONDS, Served
from serving import run as in_loop

from ohlol.serve.connections import Connection, Connections
from ohlol.serve.limits import Limits

SLOW = int(os.environ.get("OHLOL_SLOW_CLIENTS", "100"))
"""Connections that send one byte a second; the long form has 500."""
WATCHED = 5.0 if SLOW >= 500 else 2.0
"""Seconds for which others are watched, without the slow ones and with them."""
HEADERS = 10.0
"""Seconds that `Limits` gives to headers."""


@pytest.fixture(scope="module")
def alone(runs: dict[str, Path]) -> Iterator[Served]:
    """A server whose memory is looked at."""
    with Served([str(runs["hello"])]) as served:
        yield served
    assert "Traceback" not in served.err, served.err
    assert "ERROR" not in served.err, served.err


def talk(server: Served, data: bytes, *, timeout: float = SECONDS, half_close: bool = False) -> bytes:
    """Send bytes and read until the server closes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout) as connection:
        connection.sendall(data)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(1 << 16):
            answer += piece
        return answer


def post(path: str, body: bytes, **headers: str) -> bytes:
    """A request as bytes."""
    given = {"host": "localhost", "content-type": "application/json", "content-length": str(len(body)), **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


PREDICT = "/v1/models/hello/predict"
HELLO = post(PREDICT, b'{"inputs": "hello"}', connection="close")


def test_a_body_of_a_gigabyte(alone: Served) -> None:
    """Declared, or in chunks that never end: refused within a second of the server's time, and not kept."""
    before, used = alone.memory(), alone.cpu()
    for kind in ("content-length", "transfer-encoding"):
        value = str(1 << 30) if kind == "content-length" else "chunked"
        head = (
            f"POST {PREDICT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{kind}: {value}\r\n\r\n"
        )
        piece = b"x" * (1 << 20) if kind == "content-length" else b"100000\r\n" + b"x" * (1 << 20) + b"\r\n"
        with socket.create_connection(("127.0.0.1", alone.port), SECONDS) as connection:
            connection.sendall(head.encode())
            answer, came = b"", threading.Event()

            def read(connection: socket.socket = connection, came: threading.Event = came) -> None:
                nonlocal answer
                try:
                    while piece := connection.recv(1 << 16):
                        answer += piece
                        came.set()
                except OSError:
                    pass

            reader = threading.Thread(target=read)
            reader.start()
            try:
                for _ in range(1024):
                    connection.sendall(piece)
                    if came.is_set():
                        break
            except OSError:
                pass  # it does not take the rest
            assert came.wait(SECONDS)
        reader.join()
        assert answer.startswith(b"HTTP/1.1 413 "), answer
    assert alone.cpu() - used < 1
    assert alone.memory() - before < 32 << 20


def test_the_refusal_reaches_a_client_that_sends_first(alone: Served) -> None:
    """Two megabytes are sent whole before the answer is read, as most clients do."""
    body = b'{"inputs": "' + b"h" * (2 << 20) + b'"}'
    assert talk(alone, post(PREDICT, body)).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputs": "' + b"h" * 10**7 + b'"}',
        b'{"inputs": ' + json.dumps(["h"] * 10**7).encode() + b"}",
        b"[" * 10**5,
        b'{"inputs": ' + b"[" * 10**5 + b"]" * 10**5 + b"}",
        b'{"a":' * 10**5 + b"1" + b"}" * 10**5,
        b'{"inputs": "' + b"h" * 10**6 + b'"}',
        b'{"inputs": ' + json.dumps([["h"] * 200_000]).encode() + b"}",
        b'{"inputs": ' + json.dumps(["h"] * 200_000).encode() + b"}",
        b'{"rows": [[' + b"1" * 10**6 + b"]]}",
        b'{"' + b"k" * 10**6 + b'": 1}',
    ],
    ids=["text", "list", "open", "lists", "objects", "million", "long", "many", "digits", "name"],
)
def test_inputs_out_of_all_measure(alone: Served, body: bytes) -> None:
    before, used = alone.memory(), alone.cpu()
    answer = talk(alone, post(PREDICT, body, connection="close"))
    assert answer.split(b" ")[1] in (b"400", b"413", b"422"), answer[:300]
    assert len(answer) < 2000
    assert alone.cpu() - used < 1
    assert alone.memory() - before < 64 << 20


def test_headers_without_end(alone: Served) -> None:
    before = alone.memory()
    with socket.create_connection(("127.0.0.1", alone.port), SECONDS) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        with suppress(OSError):  # it may have taken enough
            send_on(connection, (f"x-{i}: {'y' * 1000}\r\n".encode() for i in range(1 << 11)))
        with suppress(ConnectionResetError):
            assert connection.recv(4096).startswith(b"HTTP/1.1 431 ")
    assert talk(alone, b"GET /" + b"a" * 70_000 + b"\r\n").startswith(b"HTTP/1.1 431 ")
    assert alone.memory() - before < 32 << 20


def send_on(connection: socket.socket, pieces: Iterable[bytes], pause: float = 0.0) -> None:
    """Send pieces, until the server takes no more."""
    for piece in pieces:
        connection.sendall(piece)
        time.sleep(pause)


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x01\x02",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\nbad header\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
    ],
)
def test_what_is_no_request(alone: Served, data: bytes) -> None:
    assert talk(alone, data, half_close=True).split(b"\r\n")[0] in (b"", b"HTTP/1.1 400 Bad Request")


def test_a_half_closed_client_gets_its_answer(alone: Served) -> None:
    answer = talk(alone, HELLO, half_close=True)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"]}]}") or b'"labels":["o","h","l","o","l"]' in answer


def test_clients_that_leave_in_the_middle(alone: Served) -> None:
    """Of a request, or of an answer that streams; nothing is held for them."""
    train = post("/v1/train", b'{"epochs": 500, "pace": 2}')
    for data in (HELLO[:20], HELLO[:-5], HELLO, train):
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", alone.port), SECONDS) as connection:
                connection.sendall(data)
                if data is train:
                    assert connection.recv(100)
    with alone.client() as client:
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            if "ohlol_trainings 0.0" in client.get("/metrics").text:
                break
        else:
            raise AssertionError("a training goes on that nobody watches")
        assert client.post(PREDICT, json={"inputs": "hello"}).status_code == 200


def test_a_client_that_reads_nothing(runs: dict[str, Path]) -> None:
    """It is cut off, and the place that its text took is free again."""
    from test_serve_unit import short_lived

    with short_lived(runs["text"], write_seconds=0.5, length=1 << 20) as url, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", int(url.rpartition(":")[2])))
        connection.settimeout(SECONDS)
        connection.sendall(post("/v1/models/text/generate", b'{"length": 1000000, "seed": 1}'))
        time.sleep(3)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            send_on(connection, [b"x"] * 100, pause=0.1)


def test_client_that_left_before_its_refusal() -> None:
    """Its socket may be gone before the loop knows: half-closing it fails, and it must not stay open."""

    async def refuse() -> mock.Mock:
        transport = mock.Mock(spec=asyncio.Transport)
        transport.get_extra_info.return_value = ("127.0.0.1", 1)
        transport.is_closing.return_value = False
        transport.get_write_buffer_size.return_value = 0
        transport.write_eof.side_effect = OSError(107, "Transport endpoint is not connected")
        connections = Connections(Limits(connections=1))
        connections.accepting = False
        Connection(mock.Mock(spec=asyncio.Protocol), connections).connection_made(transport)
        return transport

    transport = in_loop(refuse())
    assert transport.write.call_args[0][0].startswith(b"HTTP/1.1 503 ")
    transport.abort.assert_called_once_with()


UPGRADE = (
    b"GET /v1/models/hello/stream HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


@pytest.mark.parametrize("after", [b"\xff" * 20, b"\x81\x01h", b"\x83\x80" + bytes(4), b"\xff" * (1 << 20)])
def test_what_is_no_websocket(alone: Served, after: bytes) -> None:
    """The connection ends, without a traceback (`alone` looks); the long one comes before the handshake is through."""
    early = len(after) > 100
    with socket.create_connection(("127.0.0.1", alone.port), SECONDS) as connection:
        answer = b""
        with suppress(ConnectionError):
            connection.sendall(UPGRADE + after if early else UPGRADE)
            answer = b"" if early else connection.recv(4096)
            connection.sendall(b"" if early else after)
            while piece := connection.recv(4096):
                answer += piece
    assert answer[:13] in (b"", b"HTTP/1.1 101 ")


def test_a_stream_that_reads_nothing_is_cut_off_too(runs: dict[str, Path]) -> None:
    """Also what is left over when its session has ended: closing alone would wait for it for ever."""
    from test_serve_unit import short_lived

    asked = json.dumps({"read": ["h"] * 10_000, "n_best": 4}).encode()
    frame = b"\x81\xfe" + len(asked).to_bytes(2, "big") + bytes(4) + asked  # its mask is zeros
    with short_lived(runs["hello"], write_seconds=0.5) as url, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", int(url.rpartition(":")[2])))
        connection.settimeout(SECONDS)
        connection.sendall(UPGRADE)
        assert connection.recv(4096).startswith(b"HTTP/1.1 101 ")
        connection.sendall(frame * 4)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            send_on(connection, [b"\x8a\x80" + bytes(4)] * 600, pause=0.1)  # pongs nobody asked for


async def _healthz(server: Served, seconds: float) -> list[float]:
    """How long each of many health checks took, one after the other for some seconds, each on a new connection."""
    found: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.perf_counter()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()
        found.append(time.perf_counter() - began)
    return found


async def _dribble(server: Served, data: bytes, started: asyncio.Barrier, after: float) -> tuple[float, bytes]:
    """Send one byte a second, the first after a moment; how long the server bore it, and what it said."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    await started.wait()
    await asyncio.sleep(after)  # not all at the same instant: the clients share a loop with whoever watches
    began = time.monotonic()

    async def send() -> None:
        for byte in data:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(1)

    sending = asyncio.create_task(send())
    answer = b""
    with suppress(ConnectionError):
        answer = await reader.read()
    sending.cancel()
    writer.close()
    return time.monotonic() - began, answer


def test_slow_clients(alone: Served) -> None:
    """One byte a second holds a connection for ten seconds at most, and nobody else waits for it."""

    async def run() -> tuple[list[float], list[float], list[tuple[float, bytes]]]:
        await _healthz(alone, 0.5)
        before = await _healthz(alone, WATCHED)
        started = asyncio.Barrier(SLOW + 1)
        slow = [asyncio.create_task(_dribble(alone, HELLO, started, i / SLOW)) for i in range(SLOW)]
        await started.wait()
        during = await _healthz(alone, WATCHED)
        return before, during, await asyncio.gather(*slow)

    before, during, slow = in_loop(run())
    p99 = [sorted(times)[int(len(times) * 0.99)] for times in (before, during)]
    print(f"\n{SLOW} slow clients: healthz p99 {1000 * p99[0]:.2f} ms without, {1000 * p99[1]:.2f} ms with")
    for seconds, answer in slow:
        assert HEADERS - 2 < seconds < HEADERS + SECONDS
        assert answer.startswith(b"HTTP/1.1 408 ")
    if SLOW >= 500:
        assert p99[1] <= 2 * p99[0]


def test_slow_bodies(runs: dict[str, Path]) -> None:
    from test_serve_unit import short_lived

    with short_lived(runs["hello"], header_seconds=1.0, body_seconds=2.0) as url:
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), SECONDS) as connection:
            began = time.monotonic()
            connection.sendall(HELLO[:-10])
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 408 ")
            assert 1.5 < time.monotonic() - began < SECONDS
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), SECONDS) as connection:
            whole = HELLO.replace(b"connection: close", b"connection: keep-alive")
            connection.sendall(whole)  # a connection that was good once gets no more time for it
            answer = b""
            while not answer.endswith(b'"unknown":[]}]}'):  # head and body may come apart
                answer += connection.recv(1 << 16)
            assert answer.startswith(b"HTTP/1.1 200 ")
            time.sleep(0.2)
            began = time.monotonic()
            connection.sendall(b"GET ")
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 408 ")
            assert 0.5 < time.monotonic() - began < SECONDS
