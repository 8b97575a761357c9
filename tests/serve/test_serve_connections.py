"""Clients that are slow, send too much or leave get a 4xx, release their resources, and do not affect others."""

import asyncio
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from unittest import mock

import pytest
from serving import SECONDS, ServerProcess, run_in_thread, serve_in_thread, wait_for

from ohlol.serve.connections import Connection, Connections
from ohlol.serve.framing import FrameReader
from ohlol.serve.limits import Limits
from ohlol.serve.run import listen

SLOW = int(os.environ.get("OHLOL_SLOW_CLIENTS", "100"))
"""Connections that send one byte a second; the long form has 500."""
MEASURED = 5.0 if SLOW >= 500 else 2.0
"""Seconds for which other clients are measured, without the slow ones and with them."""
HEADER_SECONDS = Limits.header_seconds


@pytest.fixture(scope="module")
def small_server(runs: dict[str, Path]) -> Iterator[ServerProcess]:
    """A server of one model, whose memory and processor time are measured."""
    with ServerProcess([str(runs["hello"])]) as process:
        yield process
    process.assert_no_errors()


def exchange(server: ServerProcess, data: bytes, *, timeout: float = SECONDS, half_close: bool = False) -> bytes:
    """Send bytes, and read until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout) as connection:
        connection.sendall(data)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(1 << 16):
            answer += piece
        return answer


def format_post(path: str, body: bytes, **headers: str) -> bytes:
    """A request as bytes."""
    fields = {"host": "localhost", "content-type": "application/json", "content-length": str(len(body)), **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


PREDICT = "/v1/models/hello/predict"
HELLO = format_post(PREDICT, b'{"inputs": "hello"}', connection="close")


@pytest.mark.slow
def test_a_body_of_a_gigabyte_is_refused_quickly(small_server: ServerProcess) -> None:
    """Declared, or in chunks: refused within a second of processor time, and not kept in memory."""
    before, used = small_server.memory(), small_server.cpu_seconds()
    for kind in ("content-length", "transfer-encoding"):
        value = str(1 << 30) if kind == "content-length" else "chunked"
        head = (
            f"POST {PREDICT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{kind}: {value}\r\n\r\n"
        )
        piece = b"x" * (1 << 20) if kind == "content-length" else b"100000\r\n" + b"x" * (1 << 20) + b"\r\n"
        with socket.create_connection(("127.0.0.1", small_server.port), SECONDS) as connection:
            connection.sendall(head.encode())
            answer, arrived = b"", threading.Event()

            def read(connection: socket.socket = connection, arrived: threading.Event = arrived) -> None:
                nonlocal answer
                try:
                    while piece := connection.recv(1 << 16):
                        answer += piece
                        arrived.set()
                except OSError:
                    pass

            reader = threading.Thread(target=read)
            reader.start()
            try:
                for _ in range(1024):
                    connection.sendall(piece)
                    if arrived.is_set():
                        break
            except OSError:
                pass  # the server does not read the rest
            assert arrived.wait(SECONDS)
        reader.join()
        assert answer.startswith(b"HTTP/1.1 413 "), answer
    assert small_server.cpu_seconds() - used < 1
    assert small_server.memory() - before < 32 << 20


def test_refusal_reaches_a_client_that_is_still_sending(small_server: ServerProcess) -> None:
    """Two megabytes are sent before the response is read, as most clients do."""
    body = b'{"inputs": "' + b"h" * (2 << 20) + b'"}'
    assert exchange(small_server, format_post(PREDICT, body)).startswith(b"HTTP/1.1 413 ")


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
def test_huge_inputs_are_refused_quickly(small_server: ServerProcess, body: bytes) -> None:
    before, used = small_server.memory(), small_server.cpu_seconds()
    answer = exchange(small_server, format_post(PREDICT, body, connection="close"))
    assert answer.split(b" ")[1] in (b"400", b"413", b"422"), answer[:300]
    assert len(answer) < 2000
    assert small_server.cpu_seconds() - used < 1
    assert small_server.memory() - before < 64 << 20


def test_endless_headers_get_431(small_server: ServerProcess) -> None:
    before = small_server.memory()
    with socket.create_connection(("127.0.0.1", small_server.port), SECONDS) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        with suppress(OSError):  # the server may have closed the connection
            send_on(connection, (f"x-{i}: {'y' * 1000}\r\n".encode() for i in range(1 << 11)))
        with suppress(ConnectionResetError):
            assert connection.recv(4096).startswith(b"HTTP/1.1 431 ")
    assert exchange(small_server, b"GET /" + b"a" * 70_000 + b"\r\n").startswith(b"HTTP/1.1 431 ")
    assert small_server.memory() - before < 32 << 20


def send_on(connection: socket.socket, pieces: Iterable[bytes], pause: float = 0.0) -> None:
    """Send pieces with a pause after each."""
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
def test_invalid_requests_get_400_or_no_response(small_server: ServerProcess, data: bytes) -> None:
    assert exchange(small_server, data, half_close=True).split(b"\r\n")[0] in (b"", b"HTTP/1.1 400 Bad Request")


def test_half_closed_client_gets_its_response(small_server: ServerProcess) -> None:
    answer = exchange(small_server, HELLO, half_close=True)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"]}]}") or b'"labels":["o","h","l","o","l"]' in answer


def test_nothing_is_held_for_clients_that_leave(small_server: ServerProcess) -> None:
    """In the middle of a request, or of a streamed response; nothing is held for them."""
    train = format_post("/v1/train", b'{"epochs": 500, "pace": 2}')
    for data in (HELLO[:20], HELLO[:-5], HELLO, train):
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", small_server.port), SECONDS) as connection:
                connection.sendall(data)
                if data is train:
                    assert connection.recv(100)
    with small_server.client() as client:
        wait_for(lambda: "ohlol_trainings 0.0" in client.get("/metrics").text, "a training runs without a client")
        assert client.post(PREDICT, json={"inputs": "hello"}).status_code == 200


@pytest.mark.slow
def test_client_that_reads_nothing_is_closed(runs: dict[str, Path]) -> None:
    """Also with a response that is generated as it is sent."""
    with serve_in_thread(runs["text"], write_seconds=0.5, max_generated=1 << 20) as url, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", int(url.rpartition(":")[2])))
        connection.settimeout(SECONDS)
        connection.sendall(format_post("/v1/models/text/generate", b'{"length": 1000000, "seed": 1}'))
        time.sleep(3)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            send_on(connection, [b"x"] * 100, pause=0.1)


def test_client_that_left_before_its_refusal() -> None:
    """Half-closing its socket fails before the event loop notices; the connection must not stay open."""

    async def refuse() -> mock.Mock:
        transport = mock.Mock(spec=asyncio.Transport)
        transport.get_extra_info.return_value = ("127.0.0.1", 1)
        transport.is_closing.return_value = False
        transport.get_write_buffer_size.return_value = 0
        transport.write_eof.side_effect = OSError(107, "Transport endpoint is not connected")
        connections = Connections(Limits(max_connections=1))
        connections.accepting = False
        Connection(mock.Mock(spec=asyncio.Protocol), connections).connection_made(transport)
        return transport

    transport = run_in_thread(refuse())
    assert transport.write.call_args[0][0].startswith(b"HTTP/1.1 503 ")
    transport.abort.assert_called_once_with()


UPGRADE = (
    b"GET /v1/models/hello/stream HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


@pytest.mark.parametrize("after", [b"\xff" * 20, b"\x81\x01h", b"\x83\x80" + bytes(4), b"\xff" * (1 << 20)])
def test_invalid_websocket_frames_end_the_connection(small_server: ServerProcess, after: bytes) -> None:
    """The connection ends without a traceback. The long one is sent before the handshake is complete."""
    early = len(after) > 100
    with socket.create_connection(("127.0.0.1", small_server.port), SECONDS) as connection:
        answer = b""
        with suppress(ConnectionError):
            connection.sendall(UPGRADE + after if early else UPGRADE)
            answer = b"" if early else connection.recv(4096)
            connection.sendall(b"" if early else after)
            while piece := connection.recv(4096):
                answer += piece
    assert answer[:13] in (b"", b"HTTP/1.1 101 ")


@pytest.mark.slow
def test_websocket_client_that_reads_nothing_is_closed(runs: dict[str, Path]) -> None:
    """Also where its session has ended, and only its data are left to send."""
    message = json.dumps({"read": ["h"] * 10_000, "n_best": 4}).encode()
    frame = b"\x81\xfe" + len(message).to_bytes(2, "big") + bytes(4) + message  # its mask is zeros
    with serve_in_thread(runs["hello"], write_seconds=0.5) as url, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", int(url.rpartition(":")[2])))
        connection.settimeout(SECONDS)
        connection.sendall(UPGRADE)
        assert connection.recv(4096).startswith(b"HTTP/1.1 101 ")
        connection.sendall(frame * 4)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            send_on(connection, [b"\x8a\x80" + bytes(4)] * 600, pause=0.1)  # pongs without a ping


async def measure_health(server: ServerProcess, seconds: float) -> list[float]:
    """Seconds of each health check, one after the other and each on a new connection."""
    durations: list[float] = []
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        start = time.perf_counter()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()
        durations.append(time.perf_counter() - start)
    return durations


async def send_slowly(
    server: ServerProcess, data: bytes, started: asyncio.Barrier, after: float
) -> tuple[float, bytes]:
    """Send one byte a second; how long the connection was open, and the response."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    await started.wait()
    await asyncio.sleep(after)  # not all at once, since the measuring client shares their event loop
    start = time.monotonic()

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
    return time.monotonic() - start, answer


@pytest.mark.slow
def test_slow_heads_do_not_delay_other_clients(small_server: ServerProcess) -> None:
    """One byte a second holds a connection for ten seconds at most, and does not slow down other clients."""

    async def run() -> tuple[list[float], list[float], list[tuple[float, bytes]]]:
        await measure_health(small_server, 0.5)
        before = await measure_health(small_server, MEASURED)
        started = asyncio.Barrier(SLOW + 1)
        slow = [asyncio.create_task(send_slowly(small_server, HELLO, started, i / SLOW)) for i in range(SLOW)]
        await started.wait()
        during = await measure_health(small_server, MEASURED)
        return before, during, await asyncio.gather(*slow)

    before, during, slow = run_in_thread(run())
    p99 = [sorted(times)[int(len(times) * 0.99)] for times in (before, during)]
    print(f"\n{SLOW} slow clients: healthz p99 {1000 * p99[0]:.2f} ms without, {1000 * p99[1]:.2f} ms with")
    for seconds, answer in slow:
        assert HEADER_SECONDS - 2 < seconds < HEADER_SECONDS + SECONDS
        assert answer.startswith(b"HTTP/1.1 408 ")
    if SLOW >= 500:
        assert p99[1] <= 2 * p99[0]


def test_slow_bodies_get_408(runs: dict[str, Path]) -> None:
    with serve_in_thread(runs["hello"], header_seconds=1.0, body_seconds=2.0) as url:
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), SECONDS) as connection:
            start = time.monotonic()
            connection.sendall(HELLO[:-10])
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 408 ")
            assert 1.5 < time.monotonic() - start < SECONDS
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), SECONDS) as connection:
            whole = HELLO.replace(b"connection: close", b"connection: keep-alive")
            connection.sendall(whole)  # the next request of a connection gets no more time
            answer = b""
            while not answer.endswith(b'"unknown":[]}]}'):  # head and body may arrive separately
                answer += connection.recv(1 << 16)
            assert answer.startswith(b"HTTP/1.1 200 ")
            time.sleep(0.2)
            start = time.monotonic()
            connection.sendall(b"GET ")
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 408 ")
            assert 0.5 < time.monotonic() - start < SECONDS


def connect(url: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), SECONDS)


def test_empty_lines_do_not_keep_a_connection_open(runs: dict[str, Path]) -> None:
    """Empty lines may precede a request. The time for its head runs from the first of them."""
    with serve_in_thread(runs["hello"], header_seconds=1.0) as url, connect(url) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        start = time.monotonic()
        with suppress(OSError):
            send_on(connection, [b"\r\n"] * 100, pause=0.1)
        assert 0.5 < time.monotonic() - start < 9


def test_idle_connections_are_closed(runs: dict[str, Path]) -> None:
    """After a response, and also where the rest of the request came after it."""
    late = format_post("/nothing", b"x" * 10)
    with serve_in_thread(runs["hello"], keep_alive_seconds=0.5) as url:
        for request in (HELLO.replace(b"connection: close", b"connection: keep-alive"), late):
            with connect(url) as connection:
                connection.sendall(request[:-1])
                time.sleep(0.3)
                connection.sendall(request[-1:])
                answer = b""
                while piece := connection.recv(1 << 16):
                    answer += piece
                assert answer.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 404 "))


def test_connections_beyond_the_limit_get_503(runs: dict[str, Path]) -> None:
    with serve_in_thread(runs["hello"], max_connections=2) as url, ExitStack() as stack:
        open_connections = [stack.enter_context(connect(url)) for _ in range(2)]
        for connection in open_connections:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        with connect(url) as refused:
            refused.sendall(HELLO)
            assert refused.recv(1 << 16).startswith(b"HTTP/1.1 503 ")
        open_connections[0].close()
        wait_for(lambda: _is_accepted(url), "a closed connection is still counted")


def _is_accepted(url: str) -> bool:
    with connect(url) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        return connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")


def test_pipelined_requests_of_a_half_closed_client(small_server: ServerProcess) -> None:
    request = HELLO.replace(b"connection: close", b"connection: keep-alive")
    assert exchange(small_server, request * 3, half_close=True).count(b"HTTP/1.1 200 ") == 3


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"host: localhost\r\ntransfer-encoding: gzip, chunked", b"400"),
        (b"host: localhost\r\ntransfer-encoding: gzip\r\ntransfer-encoding: chunked", b"400"),
        (b"host: localhost\r\nhost: localhost", b"400"),
        (b"host: localhost\r\norigin: http://localhost\r\norigin: http://localhost", b"400"),
        (b"host: localhost#.evil.example", b"400"),
        (b"host: localhost/x", b"400"),
        (b"host: user@localhost", b"400"),
        (b"x: no host", b"400"),
        (b"host: localhost\r\nauthorization: Bearer a\r\nauthorization: Bearer b", b"400"),
        (b"host: localhost\r\ncontent-type: text/plain", b"400"),
    ],
)
def test_ambiguous_headers_get_the_expected_status(small_server: ServerProcess, head: bytes, status: bytes) -> None:
    request = b"POST " + PREDICT.encode() + b" HTTP/1.1\r\ncontent-type: application/json\r\n" + head
    length = b"" if b"chunked" in head else b"\r\ncontent-length: 2"
    body = b"2\r\n{}\r\n0\r\n\r\n" if b"chunked" in head else b"{}"
    answer = exchange(small_server, request + length + b"\r\n\r\n" + body, half_close=True)
    assert answer.split(b" ")[1] == status


@pytest.mark.slow
def test_second_signal_does_not_wait_for_requests(runs: dict[str, Path]) -> None:
    with ServerProcess([str(runs["text"])], ["--max-length", "1000000"]) as server, connect(server.url) as connection:
        connection.sendall(format_post("/v1/models/text/generate", b'{"length": 1000000, "seed": 1}'))
        answer = connection.recv(1 << 16)
        assert answer.startswith(b"HTTP/1.1 200 ")
        server.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert server.process.poll() is None
        server.process.send_signal(signal.SIGINT)
        with suppress(ConnectionError):
            while piece := connection.recv(1 << 16):
                answer += piece
        server.process.wait(SECONDS)
    assert b"event: done" not in answer
    assert server.returncode == 130


def test_connections_send_without_delay() -> None:
    """With Nagle's algorithm a response of two segments waits for the client's delayed acknowledgement, 40 ms."""

    async def accept() -> int:
        delay: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def look(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accepted = writer.get_extra_info("socket")
            delay.set_result(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        with listen("127.0.0.1", 0) as listening:
            async with await asyncio.start_server(look, sock=listening):
                _, writer = await asyncio.open_connection(*listening.getsockname())
                value = await delay
                writer.close()
                return value

    assert run_in_thread(accept()) != 0


@pytest.mark.parametrize(
    "handshake",
    [
        UPGRADE.replace(b"\r\n\r\n", b"\r\nx: " + b"a" * 9000 + b"\r\n\r\n"),
        UPGRADE.replace(b"\r\n\r\n", b"\r\nx: a" * 200 + b"\r\n\r\n"),
        UPGRADE.replace(b"/hello/", b"/" + b"a" * 9000 + b"/"),
        UPGRADE.replace(b"\r\n\r\n", b"\r\ncontent-length: 3\r\n\r\nabc"),
        UPGRADE.replace(b"\r\n\r\n", b"\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    ],
    ids=["long header", "many headers", "long target", "body", "chunks"],
)
def test_handshake_that_the_protocol_cannot_read(small_server: ServerProcess, handshake: bytes) -> None:
    """uvicorn answers nothing and keeps the connection, for ever, and raises an exception when the server stops."""
    start = time.monotonic()
    assert exchange(small_server, handshake).startswith(b"HTTP/1.1 400 ")
    assert time.monotonic() - start < 10


def mask_frame(first: int, payload: bytes = b"") -> bytes:
    """A frame of a client, whose mask is zeros."""
    return bytes([first, 0x80 | len(payload)]) + bytes(4) + payload


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (mask_frame(0x81, b"\xff") + mask_frame(0x88), 1007),
        (mask_frame(0x01, b"\xff") + mask_frame(0x80) + mask_frame(0x88), 1007),
        (mask_frame(0x81, b"\xff") * 2 + mask_frame(0x88) * 2, 1007),
        (mask_frame(0x81, b"{}") * 50 + mask_frame(0x81, b"\xff"), 1007),
        (mask_frame(0x81, b"{}") * 50 + mask_frame(0xFF), 1002),
        (mask_frame(0x01) + mask_frame(0x00) * 5000, 1009),
        (mask_frame(0x01) + (mask_frame(0x89) + mask_frame(0x00)) * 5000, 1009),
    ],
    ids=[
        "text and close",
        "fragments and close",
        "twice",
        "answers",
        "answers and bad frame",
        "empty fragments",
        "empty fragments and pings",
    ],
)
def test_frames_that_arrive_together(small_server: ServerProcess, frames: bytes, code: int) -> None:
    with socket.create_connection(("127.0.0.1", small_server.port), SECONDS) as connection:
        connection.sendall(UPGRADE)
        received = b""
        while b"}" not in received:
            received += connection.recv(1 << 16)
        with suppress(ConnectionError):
            connection.sendall(frames)
            while piece := connection.recv(1 << 16):
                received += piece
    assert b"\x88" in received
    assert code.to_bytes(2, "big") in received.partition(b"}")[2]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 200_000])
def test_frames_are_split_at_their_ends(size: int) -> None:
    frames = [
        mask_frame(0x81, b"h" * 125),
        mask_frame(0x82),
        b"\x81\xfe" + (300).to_bytes(2, "big") + bytes(4) + b"x" * 300,
        b"\x02\xff" + (70_000).to_bytes(8, "big") + bytes(4) + b"x" * 70_000,
        b"\x80\x05hello",
    ]
    data, reader = b"".join(frames), FrameReader()
    received, counts = [b""], []
    for start in range(0, len(data), size):
        for piece in reader.split(data[start : start + size]):
            received[-1] += piece
            if received[-1] == frames[len(received) - 1]:
                received.append(b"")
                counts.append(reader.fragments)
    assert received == [*frames, b""]
    assert counts == [0, 0, 0, 1, 0]


@pytest.mark.slow
def test_client_that_pings_and_reads_nothing(runs: dict[str, Path]) -> None:
    """Its pongs are not collected in memory: nothing is read from it until it has taken them."""
    with ServerProcess([str(runs["hello"])]) as server, socket.socket() as connection:
        before = server.memory()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", server.port))
        connection.settimeout(1.0)
        connection.sendall(UPGRADE)
        pings = mask_frame(0x89, b"x" * 125) * 2000
        sent = 0
        with suppress(TimeoutError, ConnectionError):
            while sent < 200 << 20:
                connection.sendall(pings)
                sent += len(pings)
        assert sent < 100 << 20
        assert server.memory() - before < 64 << 20
    server.assert_no_errors()


CHUNKS = format_post(PREDICT, b"2\r\n{}\r\n0\r\n\r\n").replace(b"content-length: 12", b"transfer-encoding: chunked")


@pytest.mark.parametrize(
    "request_bytes",
    [
        CHUNKS.replace(b"host: localhost", b"x: y").replace(b"0\r\n\r\n", b"0\r\nhost: localhost\r\n\r\n"),
        CHUNKS.replace(b"0\r\n\r\n", b"0\r\nx: y\r\n\r\n"),
        HELLO.replace(b" /v1", b" http://evil.example/v1"),
        HELLO.replace(b" /v1", b" http://user@localhost/v1"),
        HELLO.replace(b"HTTP/1.1", b"HTTP/2.0"),
        HELLO.replace(b"HTTP/1.1", b"HTTP/0.9"),
        CHUNKS.replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
    ids=["host in a trailer", "trailer", "other host", "user", "HTTP/2.0", "HTTP/0.9", "chunks in HTTP/1.0"],
)
def test_requests_that_only_a_lenient_server_answers(small_server: ServerProcess, request_bytes: bytes) -> None:
    answer = exchange(small_server, request_bytes)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1


def test_absolute_target_of_this_server(small_server: ServerProcess) -> None:
    assert exchange(small_server, HELLO.replace(b" /v1", b" http://LOCALHOST/v1")).startswith(b"HTTP/1.1 200 ")


def test_upgrade_that_is_not_supported_ends_the_connection(small_server: ServerProcess) -> None:
    """uvicorn answers the request, and reads none after it."""
    request = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n"
    answer = exchange(small_server, request)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nconnection: close\r\n" in answer
    refused = exchange(small_server, request.replace(b"host: localhost", b"host: evil.example"))
    assert refused.startswith(b"HTTP/1.1 421 ")
    assert refused.count(b"\r\nconnection: ") == 1


@pytest.mark.parametrize(
    "body",
    [
        b"{" + b",".join(b'"%d":1' % i for i in range(80_000)) + b',"79999":1}',
        b'{"inputs": [' + b"1," * 400_000 + b"1]}",
        b'{"rows": [[' + b'"",' * 300_000 + b'""]]}',
    ],
    ids=["member that occurs twice", "texts", "numbers"],
)
def test_many_errors_cost_little(small_server: ServerProcess, body: bytes) -> None:
    """They took a minute, and seconds, of the thread that serves all clients."""
    used = small_server.cpu_seconds()
    answer = exchange(small_server, format_post(PREDICT, body, connection="close"))
    assert answer.split(b" ")[1] in (b"400", b"422")
    assert small_server.cpu_seconds() - used < 1
