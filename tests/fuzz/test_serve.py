"""Random HTTP and WebSocket bytes: the server gives a bounded answer or closes, logs no error, and serves others."""

import base64
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from fuzz.examples import fuzz
from hypothesis import example, given
from hypothesis import strategies as st
from serving import KEY, train_models, wait_for

pytestmark = pytest.mark.slow

SHORT = 150
"""Examples of each test in the short form."""
SECONDS = 20.0
"""For an answer: less than the 30 s after which the server closes a connection that it forgot."""
MAX_ERROR = 2000
"""Bytes in the body of an error."""
MAX_LINE = 2000
"""Characters of a line of the log."""
MAX_GROWTH = 96 << 20
"""Bytes of memory by which the server may grow."""
MAX_DESCRIPTORS = 16
"""File descriptors by which the server may grow."""
ORIGIN = "https://pages.example"


class FuzzedServer:
    """`ohlol serve --log` with a key and models of every task; its log is kept in files."""

    def __init__(self, runs: dict[str, Path], folder: Path):
        self.runs, self.log = runs, [folder / "out.txt", folder / "err.txt"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "OHLOL_API_KEY": KEY}
        command = [sys.executable, "-m", "ohlol", "serve", *map(str, runs.values()), "--port", "0", "--log"]
        with self.log[0].open("wb") as out, self.log[1].open("wb") as err:
            self.process = subprocess.Popen(
                [*command, "--allow-origin", ORIGIN], stdout=out, stderr=err, env=environment
            )
        pattern = re.compile(r"http://127\.0\.0\.1:(\d+)/")
        wait_for(lambda: pattern.search(self.log[0].read_text()) is not None, "the server did not start")
        match = pattern.search(self.log[0].read_text())
        assert match is not None
        self.port = int(match[1])
        self.tokens = {name: self._make_token(name) for name in ("hello", "text", "names", "sine")}
        self._kept: socket.socket | None = None
        for target, body in BODIES.items():
            split_responses(self.exchange(format_request(Request("POST", target, json.dumps(body).encode()))))
        self._memory, self._descriptors = self._measure()

    def connect(self) -> socket.socket:
        """A new connection."""
        return socket.create_connection(("127.0.0.1", self.port), SECONDS)

    def exchange(self, data: bytes, *, half_close: bool = True) -> bytes:
        """Send bytes, and read until the server closes the connection, or the first events of a response."""
        with self.connect() as connection:
            received = b""
            with suppress(ConnectionError):
                connection.sendall(data)
            if half_close:
                end_sending(connection)
            with suppress(ConnectionError):
                while piece := connection.recv(1 << 16):
                    received += piece
                    if b"\r\ncontent-type: text/event-stream" in received and b"\ndata: " in received:
                        break
            return received

    def check_health(self) -> None:
        """Check that another client gets its response, on a connection that stays open."""
        for _ in range(2):
            if self._kept is None:
                self._kept = self.connect()
            answer = b""
            with suppress(ConnectionError):
                self._kept.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
                while not answer.endswith(b'{"status":"ok"}') and (piece := self._kept.recv(1 << 16)):
                    answer += piece
            if answer:
                assert answer.startswith(b"HTTP/1.1 200 "), answer
                return
            self._kept.close()
            self._kept = None  # the server closes a connection that was idle for long
        raise AssertionError("no answer to a plain request")

    def stop(self) -> None:
        """Stop the server, and check what it leaves."""
        if self._kept is not None:
            self._kept.close()
        metrics = format_request(Request("GET", "/metrics", b""))
        idle = (b"ohlol_sessions 0.0", b"ohlol_trainings 0.0")
        wait_for(lambda: all(line in self.exchange(metrics) for line in idle), "a client that has left holds something")
        wait_for(lambda: self._measure()[1] <= self._descriptors + MAX_DESCRIPTORS, "connections are still open")
        memory, _ = self._measure()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(SECONDS) in (0, -signal.SIGTERM), self.log[1].read_text()[-4000:]
        for file in self.log:
            for line in file.read_text(encoding="utf-8").split("\n"):
                assert line.isprintable(), line
                assert "Traceback" not in line and "ERROR" not in line, file.read_text()[:20_000]  # noqa: PT018
                assert len(line) < MAX_LINE
        assert memory - self._memory < MAX_GROWTH, (self._memory, memory)

    def _make_token(self, name: str) -> str:
        with self.connect() as connection:
            stream = Stream(connection, name)
            return stream.exchange({"token": True})["token"]

    def _measure(self) -> tuple[int, int]:
        """Bytes of memory, and the number of file descriptors."""
        folder = Path(f"/proc/{self.process.pid}")
        pages = int((folder / "statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE"), len(list((folder / "fd").iterdir()))


def end_sending(connection: socket.socket) -> None:
    """Send the end of the stream, unless the server has closed the connection."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FuzzedServer]:
    runs = train_models(tmp_path_factory.mktemp("runs"))
    before = hash_files(runs)
    fuzzed = FuzzedServer(runs, tmp_path_factory.mktemp("log"))
    try:
        yield fuzzed
        fuzzed.stop()
    finally:
        fuzzed.process.kill()
        fuzzed.process.wait()
    assert hash_files(runs) == before


def hash_files(runs: dict[str, Path]) -> dict[str, str]:
    """Hashes of all files of some runs."""
    files = [file for run in runs.values() for file in run.rglob("*") if file.is_file()]
    return {str(file): sha256(file.read_bytes()).hexdigest() for file in files}


# Responses


@dataclass
class Answer:
    """One response."""

    status: int
    headers: dict[str, str]
    body: bytes


STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2}) ([\x20-\x7e]*)")
HEADER_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([\x20-\x7e]*)")
ERRORS_OF_A_LIMIT = (503,)


def split_responses(data: bytes, *, head: bool = False) -> list[Answer]:
    """The final responses in what a server sent, each of which is checked; the last one of events may be cut off.

    Args:
        data: what was received.
        head: whether a request may have been HEAD, whose response has no body.
    """
    answers = []
    while data:
        top, separator, data = data.partition(b"\r\n\r\n")
        assert separator, top[:300]
        first, *lines = top.split(b"\r\n")
        match = STATUS_LINE.fullmatch(first)
        assert match is not None, first
        status = int(match[1])
        headers: dict[str, str] = {}
        for line in lines:
            field = HEADER_LINE.fullmatch(line)
            assert field is not None, line
            name = field[1].decode().lower()
            assert name not in headers, name
            headers[name] = field[2].decode()
        if status == 100:
            continue
        if status == 101:
            answers.append(Answer(status, headers, data))
            return answers
        if status in (204, 304) or (head and (not data or data.startswith(b"HTTP/1.1 "))):
            body = b""
        elif "content-length" in headers:
            length = int(headers["content-length"])
            body, data = data[:length], data[length:]
            assert len(body) == length or not data  # the end of a stream cuts a response off that has started
        else:
            assert headers["transfer-encoding"] == "chunked"
            assert headers["content-type"].startswith("text/event-stream")
            body, data = data.partition(b"0\r\n\r\n")[::2]
        answers.append(Answer(status, headers, body))
        check_answer(answers[-1])
    return answers


def check_answer(answer: Answer) -> None:
    """Check one response."""
    status, body = answer.status, answer.body
    assert status < 500 or status in ERRORS_OF_A_LIMIT, answer
    assert status != 408, "the client was never slow"
    assert b"Traceback" not in body
    if status >= 400:
        assert len(body) <= MAX_ERROR, body[:300]
        if answer.headers.get("content-type") == "application/json" and body:
            detail = json.loads(body)["detail"]
            assert detail.isprintable(), detail
    elif answer.headers.get("content-type") == "application/json" and body:
        body.decode("utf-8")
        json.loads(body)


# HTTP requests

NAMES = ("hello", "upper", "text", "names", "sine")
BODIES: dict[str, dict[str, Any]] = {
    "/v1/models/hello/predict": {"inputs": ["hello", "hole"], "n_best": 2},
    "/v1/models/upper/predict": {"inputs": "abc"},
    "/v1/models/names/predict": {"inputs": [["a", "n", "n", "a"]], "n_best": 1},
    "/v1/models/sine/predict": {"rows": [[50.0, 1.0], [51.0, 1.0]], "steps": 2},
    "/v1/models/text/generate": {
        "prompt": "the ",
        "length": 5,
        "temperature": 0.5,
        "top_k": 3,
        "top_p": 0.9,
        "seed": 1,
    },
    "/v1/models/hello/explain": {"input": "hello", "target": "ohlol", "saliency": True},
    "/v1/models/upper/explain": {"input": ["a", "b"]},
    "/v1/models/hello/explain/page": {"input": "hello", "lang": "zh"},
    "/v1/train": {
        "pairs": [{"input": "ab", "target": "ba"}],
        "cell": "gru",
        "head": True,
        "hidden_size": 3,
        "epochs": 2,
        "lr": 0.1,
        "seed": 1,
        "pace": 0.0,
    },
    "/v1/reload": {},
}
GET_TARGETS = (
    "/",
    "/healthz",
    "/readyz",
    "/metrics",
    "/docs",
    "/openapi.json",
    "/v1/models",
    "/v1/models/hello",
    "/nothing",
    "/static/swagger/favicon.png",
    "/static/swagger/",
    "/static",
    "/static/openapi.json",
    "/v1/models/hello/stream",
)
EMBEDDED = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer " + KEY.encode() + b"\r\n\r\n"
"""A request in a body, which must not be answered."""


@dataclass(frozen=True)
class Request:
    """One request, and how its bytes are made."""

    method: str
    target: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    """After host, authorization and content type; the text of a value may hold any byte."""
    framing: str = "length"
    """A key of `FRAMINGS`."""
    version: str = "HTTP/1.1"
    host: str | None = "localhost"
    separator: str = ": "


def format_chunks(body: bytes, size: int = 7, extension: bytes = b"", end: bytes = b"0\r\n\r\n") -> bytes:
    """A body in chunks."""
    pieces = [body[i : i + size] for i in range(0, len(body), size)] if len(body) < 4096 else [body]
    return b"".join(b"%x%s\r\n%s\r\n" % (len(piece), extension, piece) for piece in pieces) + end


def _length(value: str) -> Callable[[bytes], tuple[list[str], bytes]]:
    return lambda body: ([f"content-length: {value.format(len(body))}"], body)


def _encoding(*values: str) -> Callable[[bytes], tuple[list[str], bytes]]:
    return lambda body: ([f"transfer-encoding: {value}" for value in values], format_chunks(body))


Framing = Callable[[bytes], tuple[list[str], bytes]]
CLEAR: dict[str, Framing] = {
    "length": _length("{}"),
    "zeros": _length("000{}"),
    "chunked": _encoding("chunked"),
    "Chunked": _encoding("Chunked"),
    "chunk extensions": lambda body: (
        ["transfer-encoding: chunked"],
        format_chunks(body, extension=b';a="b"'),
    ),
}
"""Framings of one request with its whole body."""
AMBIGUOUS: dict[str, Framing] = {
    "two lengths": lambda body: ([f"content-length: {len(body)}", "content-length: 0"], body),
    "zero and length": lambda body: (["content-length: 0", f"content-length: {len(body)}"], body),
    "equal lengths": lambda body: ([f"content-length: {len(body)}"] * 2, body),
    "list of lengths": _length("{0}, {0}"),
    "plus": _length("+{}"),
    "minus": _length("-{}"),
    "hexadecimal": _length("0x{:x}"),
    "empty length": _length(""),
    "length with a space": _length("{} 0"),
    "huge length": _length("99999999999999999999999{}"),
    "both": lambda body: (["transfer-encoding: chunked", f"content-length: {len(body)}"], format_chunks(body)),
    "both, length first": lambda body: (["content-length: 3", "transfer-encoding: chunked"], format_chunks(body)),
    "gzip": _encoding("gzip, chunked"),
    "gzip last": _encoding("chunked, gzip"),
    "identity": _encoding("identity"),
    "identity and chunked": _encoding("identity", "chunked"),
    "chunked twice": _encoding("chunked", "chunked"),
    "list of chunked": _encoding("chunked, chunked"),
    "x": _encoding("xchunked"),
    "parameter": _encoding("chunked;q=1"),
    "vertical tab": _encoding("\x0bchunked"),
    "no-break space": _encoding("\xa0chunked"),
    "quotes": _encoding('"chunked"'),
    "empty": _encoding(""),
    "comma": _encoding("chunked,"),
    "space before the colon": lambda body: (["transfer-encoding : chunked"], format_chunks(body)),
    "folded": lambda body: (["transfer-encoding:\r\n chunked"], format_chunks(body)),
    "trailer": lambda body: (
        ["transfer-encoding: chunked"],
        format_chunks(body, end=b"0\r\nauthorization: Bearer x\r\n\r\n"),
    ),
    "chunk size of a letter": lambda body: (["transfer-encoding: chunked"], b"g\r\n" + body),
    "chunk size below zero": lambda body: (["transfer-encoding: chunked"], b"-1\r\n" + body),
    "chunk size in hexadecimal notation": lambda body: (["transfer-encoding: chunked"], b"0x5\r\nhello\r\n0\r\n\r\n"),
    "chunk size with a space": lambda body: (["transfer-encoding: chunked"], b"5 \x0b\r\nhello\r\n0\r\n\r\n"),
    "huge chunk size": lambda body: (["transfer-encoding: chunked"], b"f" * 17 + b"\r\n" + body),
    "empty chunk size": lambda body: (["transfer-encoding: chunked"], b"\r\n" + body),
    "chunk longer than its size": lambda body: (["transfer-encoding: chunked"], b"1\r\n" + b"xyz\r\n" + body),
    "line feeds between chunks": lambda body: (["transfer-encoding: chunked"], b"1\nx\n0\n\n" + body),
}
"""Framings that two readers could understand differently, or that are not valid: all get 400."""
WRONG: dict[str, Framing] = {
    "none": lambda body: ([], body),
    "one less": lambda body: ([f"content-length: {max(0, len(body) - 1)}"], body),
    "one more": lambda body: ([f"content-length: {len(body) + 1}"], body),
    "no last chunk": lambda body: (["transfer-encoding: chunked"], format_chunks(body, end=b"")),
    "gigabytes": _length("9999999999"),
    "long extension": lambda body: (["transfer-encoding: chunked"], format_chunks(body, extension=b";" + b"a" * 9000)),
}
FRAMINGS = CLEAR | AMBIGUOUS | WRONG


def format_request(request: Request) -> bytes:
    """The bytes of a request."""
    lines, body = FRAMINGS[request.framing](request.body)
    host = [] if request.host is None else [("host", request.host)]
    fixed = [*host, ("authorization", f"Bearer {KEY}"), ("content-type", "application/json")]
    names = {name.lower() for name, _ in request.headers}
    fields = [(n, v) for n, v in fixed if n == "host" or f"-{n}" not in names]
    fields += [(name, value) for name, value in request.headers if not name.startswith("-")]
    lines = [f"{name}{request.separator}{value}" for name, value in fields] + lines
    first = f"{request.method} {request.target} {request.version}\r\n"
    return "".join([first, *(f"{line}\r\n" for line in lines), "\r\n"]).encode("latin-1", "replace") + body


CONTROLS = "\0\x01\x07\x08\t\x0b\x0c\x1b\x7f\x85\x9b\xa0\xff"
CHARACTERS = st.sampled_from([*CONTROLS, *"azAZ09%/.;:?#[]{}\"'<>\\,=@ \r\n"])
JUNK = st.text(CHARACTERS, max_size=12)
REPEATED = st.builds(
    lambda text, count: text * count,
    st.sampled_from(["a", "%41", "/", "../", "h", "é", "\x1b"]),
    st.sampled_from([1, 2, 100, 8200, 70_000]),
)
TARGETS = st.one_of(
    st.sampled_from([*GET_TARGETS, *BODIES]),
    st.builds(
        lambda target, text: target + text,
        st.sampled_from([*GET_TARGETS, *BODIES]),
        st.one_of(
            JUNK,
            st.sampled_from(
                [
                    "/",
                    "?",
                    "?x=1",
                    "?%1b[31m",
                    "?\xe9",
                    "#f",
                    "%00",
                    "%0d%0aset-cookie:x",
                    "/..",
                    "/%2e%2e/%2e%2e/etc/passwd",
                    "%ff",
                    "%e2%80%ae",
                    "?" + "q" * 9000,
                ]
            ),
        ),
    ),
    st.builds(
        "".join,
        st.lists(
            st.sampled_from(
                [
                    "/",
                    "v1",
                    "models",
                    "hello",
                    "predict",
                    "..",
                    ".",
                    "%2f",
                    "%2e%2e",
                    "%00",
                    "%ff",
                    "%",
                    "%zz",
                    "static",
                    "swagger",
                    "\\",
                    "stream",
                    "*",
                    "\xe9",
                    "~",
                    "%ed%a0%80",
                ]
            ),
            max_size=8,
        ),
    ),
    st.builds(
        lambda prefix, target: prefix + target,
        st.sampled_from(
            [
                "http://localhost",
                "http://evil.example",
                "https://localhost",
                "http://a:b@localhost",
                "http://[::1]",
                "ftp://localhost",
                "http://localhost:99999",
                "//evil.example",
                "http:/",
                "http://",
                "localhost:80",
                "javascript:",
            ]
        ),
        st.sampled_from(GET_TARGETS),
    ),
    st.just("*"),
    JUNK,
    REPEATED,
)
HOSTS = st.one_of(
    st.just("localhost"),
    st.sampled_from(
        [
            None,
            "",
            "localhost:8000",
            "localhost#.evil.com",
            "LOCALHOST",
            "localhost.",
            "evil.example",
            "a@localhost",
            "localhost/",
            "[::1]",
            "[::1",
            "localhost:x",
            "127.0.0.1",
            "localhost, localhost",
            "localhost\t",
            "\xe9",
            "localhost\0",
            "lo\ncalhost",
        ]
    ),
)
HEADERS = st.one_of(
    st.tuples(
        st.sampled_from(
            [
                "Host",
                "origin",
                "Origin",
                "content-type",
                "authorization",
                "-authorization",
                "-content-type",
                "connection",
                "upgrade",
                "expect",
                "range",
                "if-range",
                "if-none-match",
                "if-modified-since",
                "accept",
                "accept-encoding",
                "cookie",
                "te",
                "trailer",
                "content-encoding",
                "access-control-request-method",
                "access-control-request-headers",
                "x-forwarded-for",
                "x-http-method-override",
                "sec-websocket-key",
                "sec-websocket-version",
                "sec-websocket-protocol",
                "x",
            ]
        ),
        st.one_of(
            st.sampled_from(
                [
                    "localhost",
                    ORIGIN,
                    "null",
                    "http://localhost",
                    "text/plain",
                    "application/json",
                    "application/json; charset=utf-16",
                    "multipart/form-data; boundary=x",
                    "application/x-www-form-urlencoded",
                    f"Bearer {KEY}",
                    "Bearer é",
                    "Basic \xff",
                    "Bearer",
                    "close",
                    "keep-alive",
                    "upgrade",
                    "upgrade, close",
                    "websocket",
                    "h2c",
                    "100-continue",
                    "200-ok",
                    "bytes=0-0,2-2",
                    "bytes=-1",
                    "bytes=9-1",
                    "bytes=" + "0-0," * 2000,
                    "bytes=" + "9" * 5000 + "-",
                    "*",
                    '"x"',
                    "Mon, 99 Foo 99999 99:99:99 GMT",
                    "gzip",
                    "trailers",
                    "POST",
                    "DELETE",
                    "13",
                    "AAAAAAAAAAAAAAAAAAAAAA==",
                ]
            ),
            JUNK,
            REPEATED,
        ),
    ),
    st.tuples(JUNK, JUNK),
    st.sampled_from(
        [
            ("x", "a\r\n b"),
            ("x", "a\r\n\tb"),
            ("x", "a\n b"),
            ("x", "a\rb"),
            (" x", "y"),
            ("x ", "y"),
            ("", "y"),
            ("x\0", "y"),
        ]
    ),
)


# JSON

STRINGS = st.one_of(
    st.text(st.sampled_from([*CONTROLS, *'helo abc\n\r"\\/\u2028\u202e\U0001f600\ud800\udfff\ufeff']), max_size=8),
    st.builds(
        lambda text, count: text * count,
        st.sampled_from(["h", "hello ", "\x1b", "x", "\ud800", "é"]),
        st.sampled_from([1, 60, 501, 10_001, 100_000]),
    ),
    st.sampled_from(["", "hello", "NaN", "1", "true", "__proto__", "[/b]", "lstm", "<unk>"]),
)
HUGE = 4400
"""Written as a number of so many digits, more than Python converts by default."""
NUMBERS = st.one_of(
    st.integers(-2, 3),
    st.sampled_from(
        [10**6, 1 << 31, 1 << 63, 1 << 64, -(1 << 63), 10**400, HUGE, 0.5, 1e-320, 1e308, -1e308, -0.0, 500, 1001]
    ),
    st.floats(),
)
MANY = st.builds(
    lambda value, count: [value] * count,
    st.sampled_from(["h", 1, "", None, [], [1.0, 2.0], ["h"], 1e999]),
    st.sampled_from([65, 10_001]),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, STRINGS, MANY),
    lambda values: st.one_of(
        st.lists(values, max_size=3),
        st.dictionaries(STRINGS, values, max_size=2),
    ),
    max_leaves=6,
)


def encode_json(content: Any) -> bytes:
    """JSON with lone surrogates as they are."""
    text = re.sub(rf"\b{HUGE}\b", "7" * HUGE, json.dumps(content, ensure_ascii=False))
    return text.encode("utf-8", "surrogatepass")


@st.composite
def json_texts(draw: st.DrawFn, valid: dict[str, Any]) -> bytes:
    """An object with other members and values, and its text with damage."""
    content: Any = dict(valid)
    for _ in range(draw(st.integers(0, 2))):
        names = [*content, "extra", "inputs", "rows", "n_best", "\ud800", "\x1b[31m"]
        content[draw(st.sampled_from(names))] = draw(VALUES)
    kind = draw(st.sampled_from(("members",) * 6 + ("value", "twice", "nested", "cut", "flip", "encoding", "ascii")))
    if kind == "value":
        content = draw(VALUES)
    text = encode_json(content)[: 1 << 19]
    if kind == "twice" and text.endswith(b"}") and content:
        text = text[:-1] + b"," + encode_json({draw(st.sampled_from([*content])): 1})[1:]
    elif kind == "nested":
        left, right = draw(st.sampled_from([(b"[", b"]"), (b'{"a":', b"}"), (b'{"inputs":[', b"]}")]))
        count = draw(st.sampled_from([1, 200, 50_000]))
        text = left * count + text + right * draw(st.sampled_from([0, count]))
    elif kind == "cut":
        text = text[: draw(st.integers(0, len(text)))]
    elif kind == "flip":
        text = flip_bytes(draw, text)
    elif kind == "encoding":
        name = draw(st.sampled_from(["utf-16", "utf-32", "utf-8-sig", "utf-7"]))
        text = text.decode("utf-8", "ignore").encode(name, "ignore")
    elif kind == "ascii" and isinstance(content, dict):
        text = json.dumps({**valid, "extra" if draw(st.booleans()) else next(iter(valid), "a"): draw(STRINGS)}).encode()
    return text


def flip_bytes(draw: st.DrawFn, data: bytes) -> bytes:
    """Replace, remove or insert up to three bytes."""
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(data)))
        new = draw(
            st.sampled_from(
                [b"", b"\0", b"\r\n", b"\n", b" ", b"\x1b", b"\xff", b"\xc3", b":", b"\xed\xa0\x80", b'"', b"\\u0000"]
            )
        )
        data = data[:place] + new + data[place + draw(st.integers(0, 2)) :]
    return data


@dataclass(frozen=True)
class HttpCase:
    """What is sent on one connection."""

    data: bytes
    most: int
    """Responses that may arrive."""
    ending: str = "half-close"


@st.composite
def http_requests(draw: st.DrawFn) -> Request:
    """A request, most of whose parts are valid."""
    target = draw(st.one_of(st.sampled_from([*BODIES]), TARGETS))
    body = draw(st.one_of(json_texts(BODIES[target]), st.just(EMBEDDED))) if target in BODIES else EMBEDDED
    method = "POST" if target in BODIES else draw(st.sampled_from(["GET", "GET", "HEAD", "POST"]))
    request = Request(method, target, body)
    part = draw(
        st.sampled_from(["none", "method", "headers", "headers", "framing", "framing", "version", "host", "separator"])
    )
    if part == "method":
        return replace(
            request,
            method=draw(
                st.sampled_from(
                    [
                        "GET",
                        "HEAD",
                        "PUT",
                        "DELETE",
                        "OPTIONS",
                        "PATCH",
                        "TRACE",
                        "CONNECT",
                        "get",
                        "PRI",
                        "M-SEARCH",
                        "",
                        "G\0T",
                        "A" * 300,
                    ]
                )
            ),
        )
    if part == "headers":
        return replace(request, headers=tuple(draw(st.lists(HEADERS, max_size=3))))
    if part == "framing":
        return replace(request, framing=draw(st.sampled_from([*FRAMINGS])))
    if part == "version":
        return replace(
            request,
            version=draw(
                st.sampled_from(
                    [
                        "HTTP/1.0",
                        "HTTP/0.9",
                        "HTTP/2.0",
                        "HTTP/9.9",
                        "http/1.1",
                        "HTTP/1.1 x",
                        "HTTP/1",
                        "RTSP/1.0",
                        "ICE/1.0",
                        "",
                        "HTTP/01.1",
                    ]
                )
            ),
        )
    if part == "host":
        return replace(request, host=draw(HOSTS))
    if part == "separator":
        return replace(
            request, separator=draw(st.sampled_from([":", ":\t", " : ", ":  ", ": \x0b", "=", "\0:", ":\r\n "]))
        )
    return request


@st.composite
def http_cases(draw: st.DrawFn) -> HttpCase:
    """One request or a few, cut off or damaged in some cases."""
    requests = (
        draw(st.lists(http_requests(), min_size=1, max_size=3))
        if draw(st.integers(0, 3)) == 0
        else [draw(http_requests())]
    )
    data = b"".join(map(format_request, requests))
    is_clear = all(
        request.framing in CLEAR
        and not request.headers
        and request.version == "HTTP/1.1"
        and len(request.separator) < 3
        and not re.search(r"[\x00-\x20]", request.target)
        for request in requests
    )
    kind = draw(st.sampled_from(("whole",) * 6 + ("cut", "flip")))
    if kind == "cut":
        data = data[: draw(st.integers(0, len(data)))]
    elif kind == "flip":
        data, is_clear = flip_bytes(draw, data), False
    most = len(requests) + 1 if is_clear else data.count(b"HTTP/") + 1  # one more for bytes after the last request
    return HttpCase(data, most, draw(st.sampled_from(("half-close",) * 6 + ("leave", "reset"))))


def send(server: FuzzedServer, case: HttpCase) -> None:
    """Send a case, and check what arrives."""
    if case.ending == "half-close":
        head = b"HEAD" in case.data
        answers = split_responses(server.exchange(case.data), head=head)
        assert len(answers) <= case.most
    else:
        with server.connect() as connection, suppress(ConnectionError):
            if case.ending == "reset":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(case.data)
    server.check_health()


def examples_of(cases: Sequence[Any], name: str = "case") -> Callable[[Any], Any]:
    """A decorator with an example for each case."""

    def decorate(test: Any) -> Any:
        for case in cases:
            test = example(**{name: case})(test)
        return test

    return decorate


PREDICT = "/v1/models/hello/predict"
SEEDS = [
    Request("POST", PREDICT, b'{"inputs": "' + b"h" * 900_000 + b'"}'),
    Request("POST", PREDICT, b'{"' + b"k" * 900_000 + b'": 1}'),
    Request("POST", PREDICT, b'{"inputs": [["' + b"x" * 100_000 + b'"]]}'),
    Request("POST", PREDICT, b'{"inputs": "\\ud800"}'),
    Request("POST", PREDICT, b'{"inputs": "\xed\xa0\x80"}'),
    Request("POST", PREDICT, b'{"inputs": "\x1b]0;x\x07"}'),
    Request("POST", PREDICT, b'{"inputs": "h", "inputs": 3}'),
    Request("POST", PREDICT, b'{"inputs": [' + b"1," * 400_000 + b"1]}"),
    Request("POST", PREDICT, b"{" + b",".join(b'"%d":1' % i for i in range(80_000)) + b',"79999":1}'),
    Request("POST", "/v1/models/hello/explain", b'{"input": "hello", "target": "' + b"\\u001b" * 1000 + b'"}'),
    Request("GET", "/v1/models", b"", host="localhost#.evil.com"),
    Request("GET", "/v1/models", b"", headers=(("Host", "localhost"),)),
    Request("POST", PREDICT, b"{}", headers=(("origin", "null"), ("origin", "http://localhost"))),
    Request("GET", "/healthz?\xe9\x1b", b""),
    Request("GET", "/healthz", b"", headers=(("connection", "upgrade"), ("upgrade", "h2c"))),
    Request("CONNECT", "/healthz", b"", framing="none"),
    Request("GET", "http://evil.example/healthz", b""),
    Request("POST", "/v1/train", b'{"epochs": 500, "pace": 2}'),
    Request("GET", "/static/swagger/favicon.png", b"", headers=(("range", "bytes=" + "0-0,2-2," * 3000),)),
    *(Request("POST", PREDICT, EMBEDDED, framing=framing) for framing in FRAMINGS),
]


@fuzz(SHORT)
@examples_of([HttpCase(format_request(request), 2) for request in SEEDS])
@given(case=http_cases())
def test_http_requests(server: FuzzedServer, case: HttpCase) -> None:
    send(server, case)


@fuzz(SHORT)
@given(st.data())
def test_json_bodies(server: FuzzedServer, data: st.DataObject) -> None:
    target = data.draw(st.sampled_from([*BODIES]))
    text = data.draw(json_texts(BODIES[target]))
    send(server, HttpCase(format_request(Request("POST", target, text)), 1))


@fuzz(SHORT)
@given(
    framing=st.sampled_from([*AMBIGUOUS]),
    target=st.sampled_from([*GET_TARGETS, *BODIES]),
    body=st.sampled_from([EMBEDDED, b"x" + EMBEDDED, b'{"inputs": "h"}']),
    after=st.sampled_from([b"", EMBEDDED]),
)
def test_ambiguous_framing(server: FuzzedServer, framing: str, target: str, body: bytes, after: bytes) -> None:
    """It gets 400 and nothing else, and the server closes the connection by itself."""
    answers = split_responses(
        server.exchange(format_request(Request("POST", target, body, framing=framing)) + after, half_close=False)
    )
    assert [answer.status for answer in answers] == [400]
    server.check_health()


# WebSocket


class Stream:
    """A session, of which this is the client."""

    def __init__(self, connection: socket.socket, name: str):
        self.connection, self._received = connection, b""
        connection.sendall(format_handshake(name))
        while b"\r\n\r\n" not in self._received:
            self._read()
        top, _, self._received = self._received.partition(b"\r\n\r\n")
        assert top.startswith(b"HTTP/1.1 101 "), top
        greeting = self.receive()
        assert greeting["model"] == name

    def _read(self) -> None:
        piece = self.connection.recv(1 << 16)
        assert piece, "the connection was closed"
        self._received += piece

    def receive(self) -> dict[str, Any]:
        """The next message."""
        while (taken := take_frame(self._received)) is None:
            self._read()
        opcode, payload, self._received = taken
        assert opcode == 1, payload
        return json.loads(payload)

    def exchange(self, content: dict[str, Any] | bytes) -> dict[str, Any]:
        """The answer to a message."""
        payload = content if isinstance(content, bytes) else encode_json(content)
        is_text = is_utf8(payload)
        self.connection.sendall(format_frame(1 if is_text else 2, payload))
        return self.receive()


def is_utf8(data: bytes) -> bool:
    """Whether bytes are valid UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def take_frame(data: bytes) -> tuple[int, bytes, bytes] | None:
    """The opcode and the payload of the server's next frame, and the rest; None where it is not complete."""
    if len(data) < 2:
        return None
    assert data[0] & 0xF0 == 0x80, "the server neither fragments nor compresses"
    assert data[1] < 0x80, "the server does not mask"
    size, start = data[1], 2
    if size >= 126:
        start = 4 if size == 126 else 10
        size = int.from_bytes(data[2:start], "big")
    if len(data) < start + size:
        return None
    return data[0] & 0xF, data[start : start + size], data[start + size :]


def format_frame(
    opcode: int, payload: bytes, *, first: int = 0x80, mask: bytes | None = bytes(4), size: int = 0
) -> bytes:
    """A frame of a client.

    Args:
        opcode: four bits.
        payload: its bytes.
        first: the bit FIN and the reserved bits.
        mask: None leaves it out, which is not valid.
        size: 0 for the shortest form of the length; 126 and 127 for longer ones; any other is declared.
    """
    length = len(payload)
    form = size if size in (126, 127) else 127 if length >= 1 << 16 else 126 if length > 125 else length
    if size > 127:
        form, length = 127, size
    if form == 126:
        length = min(length, (1 << 16) - 1)
    extended = b"" if form < 126 else length.to_bytes(2 if form == 126 else 8, "big")
    head = bytes([first | opcode, form | (0 if mask is None else 0x80)]) + extended
    if mask is None:
        return head + payload
    if mask != bytes(4):
        payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload[:5000])) + payload[5000:]
    return head + mask + payload


def format_handshake(name: str, headers: Sequence[tuple[str, str]] = (), **changes: Any) -> bytes:
    """The request that opens a session."""
    fields = {
        "connection": "upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    removed = {n.removeprefix("-") for n, _ in headers if n.startswith("-")}
    fixed = tuple((n, v) for n, v in fields.items() if n not in removed)
    request = Request("GET", f"/v1/models/{name}/stream", b"", (*fixed, *headers), "none")
    return format_request(replace(request, **changes))


HANDSHAKES = st.one_of(
    st.just(format_handshake("hello")),
    st.builds(
        format_handshake,
        st.sampled_from([*NAMES, "nobody", "%00", "..", "h\xe9llo", "hello?\xe9", "hello%0a", "a" * 9000]),
    ),
    st.builds(
        format_handshake,
        st.just("hello"),
        st.lists(
            st.one_of(
                HEADERS,
                st.tuples(
                    st.sampled_from(
                        [
                            "-connection",
                            "-upgrade",
                            "-sec-websocket-version",
                            "-sec-websocket-key",
                            "connection",
                            "upgrade",
                            "sec-websocket-version",
                            "sec-websocket-key",
                            "sec-websocket-protocol",
                            "sec-websocket-extensions",
                            "origin",
                            "content-length",
                            "transfer-encoding",
                            "x",
                        ]
                    ),
                    st.one_of(
                        JUNK,
                        REPEATED,
                        st.sampled_from(
                            [
                                "upgrade",
                                "websocket",
                                "WebSocket, h2c",
                                "13",
                                "8",
                                "99999999999999999999",
                                "permessage-deflate",
                                "ohlol",
                                "ohlol.key.!",
                                "ohlol.key." + "A" * 3000,
                                ", ,",
                                'a;b="c',
                                ORIGIN,
                                "null",
                                "3",
                                "chunked",
                                "AAAA",
                            ]
                        ),
                    ),
                ),
            ),
            min_size=1,
            max_size=3,
        ),
    ),
    st.builds(
        lambda part, value: format_handshake("hello", **{part: value}),
        st.just("method"),
        st.sampled_from(["POST", "HEAD", "OPTIONS", "CONNECT"]),
    ),
    st.builds(lambda value: format_handshake("hello", framing=value), st.sampled_from([*FRAMINGS])),
    st.builds(lambda value: format_handshake("hello", version=value), st.sampled_from(["HTTP/1.0", "HTTP/2.0"])),
    st.builds(lambda value: format_handshake("hello", host=value), HOSTS),
    st.builds(lambda count: format_handshake("hello", [("x", "y")] * count), st.sampled_from([130, 3000])),
)
MESSAGES: list[dict[str, Any]] = [
    {"read": "hel"},
    {"read": ["h", "e"], "n_best": 2},
    {"read": [[1.0, 2.0]]},
    {"reset": True},
    {"token": True},
    {"n_best": 3},
    {"reset": True, "read": "h", "token": True, "n_best": 1},
]
PAYLOADS = st.one_of(
    st.sampled_from(MESSAGES).flatmap(json_texts),
    st.binary(max_size=130),
    st.sampled_from(
        [b"", b"\xff", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"h" * 126, b"\xc3", b"x" * 70_000, b"x" * 270_000]
    ),
)
CLOSES = st.builds(
    lambda code, reason: code.to_bytes(2, "big") + reason,
    st.sampled_from([0, 999, 1000, 1001, 1004, 1005, 1006, 1007, 1011, 1015, 1016, 2999, 3000, 4000, 5000, 65535]),
    st.sampled_from([b"", b"reason", b"\xff", b"\x1b[31m\n", b"x" * 123, b"x" * 124]),
)
FRAMES = st.one_of(
    st.builds(format_frame, st.sampled_from([1, 2]), PAYLOADS),
    st.builds(format_frame, st.sampled_from([8]), st.one_of(CLOSES, st.sampled_from([b"", b"\x03"]))),
    st.builds(format_frame, st.sampled_from([9, 10]), st.binary(max_size=130)),
    st.builds(format_frame, st.sampled_from([0, 1, 2]), PAYLOADS, first=st.sampled_from([0, 0x80])),
    st.builds(
        format_frame,
        st.integers(0, 15),
        PAYLOADS,
        first=st.sampled_from([0, 0x80, 0xC0, 0x40, 0x90, 0xF0]),
        mask=st.sampled_from([None, bytes(4), b"abcd"]),
        size=st.sampled_from([0, 126, 127, 1 << 31, 1 << 63, (1 << 64) - 1]),
    ),
    st.just(format_frame(0, b"", first=0) * 5000),
    st.binary(max_size=40),
).filter(bool)


@dataclass(frozen=True)
class SocketCase:
    """What a WebSocket client sends."""

    handshake: bytes
    frames: tuple[bytes, ...]
    waits: bool = True
    """Whether the frames are sent after the answer to the handshake."""


UTF8_ERROR = format_frame(1, b"\xff")
CLOSE = format_frame(8, b"")
SOCKET_SEEDS = [
    SocketCase(format_handshake("hello"), (UTF8_ERROR,)),
    SocketCase(format_handshake("hello"), (UTF8_ERROR + CLOSE,)),
    SocketCase(format_handshake("hello"), (UTF8_ERROR + UTF8_ERROR + CLOSE + CLOSE,)),
    SocketCase(format_handshake("hello"), (format_frame(1, b"\xff", first=0) + format_frame(0, b"") + CLOSE,)),
    SocketCase(format_handshake("hello"), (format_frame(1, b"", first=0), format_frame(0, b"", first=0) * 20_000)),
    SocketCase(format_handshake("hello"), (format_frame(9, b"x" * 125) * 2000,)),
    SocketCase(format_handshake("hello", [("x", "a" * 9000)]), ()),
    SocketCase(format_handshake("hello", [("x", "a")] * 200), ()),
    SocketCase(format_handshake("hello", framing="one more"), ()),
    SocketCase(format_handshake("hello", framing="chunked"), ()),
    SocketCase(format_handshake("h\xe9llo"), ()),
    SocketCase(format_handshake("a" * 9000), ()),
    SocketCase(format_handshake("hello"), (b"\xff" * (1 << 18),), waits=False),
]


@fuzz(SHORT)
@examples_of(SOCKET_SEEDS)
@given(
    case=st.builds(
        SocketCase, HANDSHAKES, st.lists(FRAMES, max_size=4).map(tuple), st.sampled_from([True, True, True, False])
    )
)
def test_websocket_frames(server: FuzzedServer, case: SocketCase) -> None:
    with server.connect() as connection:
        received = b""
        with suppress(ConnectionError):
            connection.sendall(case.handshake)
            if case.waits:
                while b"\r\n\r\n" not in received and (piece := connection.recv(1 << 16)):
                    received += piece
            for frame in case.frames:
                connection.sendall(frame)
        end_sending(connection)
        with suppress(ConnectionError):
            while piece := connection.recv(1 << 16):
                received += piece
    answers = split_responses(received, head=case.handshake.startswith(b"HEAD"))
    assert len(answers) <= 1 + case.handshake.count(b"HTTP/") + b"".join(case.frames).count(b"HTTP/")
    for answer in answers:
        if answer.status == 101:
            check_frames(answer.body)
    server.check_health()


def check_frames(data: bytes) -> None:
    """Check the frames of a server: text in JSON, pongs, and at most one close frame, with a valid code."""
    while (taken := take_frame(data)) is not None:
        opcode, payload, data = taken
        assert opcode in (1, 8, 10)
        if opcode == 1:
            check_message(json.loads(payload))
        if opcode == 8 and payload:
            code = int.from_bytes(payload[:2], "big")
            assert 1000 <= code < 5000 and code not in (1004, 1005, 1006, 1015), code  # noqa: PT018
            assert len(payload) <= 125
            payload[2:].decode()


def check_message(content: Any) -> None:
    """Check one message of a server."""
    assert isinstance(content, dict)
    error = content.get("error", "")
    assert "Traceback" not in error
    assert error.isprintable(), error
    assert len(error) <= MAX_ERROR


@st.composite
def stream_messages(draw: st.DrawFn, tokens: dict[str, str]) -> bytes:
    """A message, with a token in some cases that may be another model's, or damaged."""
    content = dict(draw(st.sampled_from(MESSAGES)))
    if draw(st.booleans()):
        token = draw(st.sampled_from([*tokens.values()]))
        kind = draw(st.sampled_from(["whole", "whole", "cut", "flip", "text", "bytes"]))
        if kind == "cut":
            token = token[: draw(st.integers(0, len(token)))]
        elif kind == "flip":
            place = draw(st.integers(0, len(token) - 1))
            token = token[:place] + draw(st.sampled_from([*"AZaz09-_=+/ \xe9"])) + token[place + 1 :]
        elif kind == "text":
            token = draw(STRINGS)
        elif kind == "bytes":
            token = base64.urlsafe_b64encode(draw(st.binary(max_size=100))).decode()
        content["resume"] = token
    return encode_json(content) if draw(st.booleans()) else draw(json_texts(content))


@fuzz(SHORT)
@given(st.data())
def test_stream_messages(server: FuzzedServer, data: st.DataObject) -> None:
    """Each message gets one answer, and one that is not valid leaves the state as it was."""
    name = data.draw(st.sampled_from(["hello", "text", "names", "sine"]))
    with server.connect() as connection:
        stream = Stream(connection, name)
        for _ in range(data.draw(st.integers(1, 3))):
            message = data.draw(stream_messages(server.tokens))
            if len(message) > 1 << 18:  # a larger one ends the session
                continue
            before = stream.exchange({"token": True})
            answer = stream.exchange(message)
            check_message(answer)
            if "error" in answer:
                assert stream.exchange({"token": True}) == before
    server.check_health()
