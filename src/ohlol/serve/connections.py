"""Limits on connections: seconds to receive a request, seconds to take a response, bytes of a head, number at once.

uvicorn has no deadline for receiving a request and none for a client that stops reading, so one byte a second would
hold a connection forever. Here the protocol that a server creates for a connection is wrapped into a `Connection`,
which passes bytes on and runs a timer whenever the client is the side that must act. The wrapper uses the interfaces
of `asyncio.Protocol` and `asyncio.Transport` only: `LimitedEventLoop` wraps whatever protocol the server creates, and
`ConnectionMiddleware` reports when a response starts and ends, which the bytes of the requests do not show.
"""

import asyncio
import sys
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, cast

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ohlol.serve.framing import FrameReader, Part, RequestReader
from ohlol.serve.limits import Limits

HANDSHAKE_SECONDS = 0.0
"""How long the protocol of a WebSocket may take to call the application, which it does at once or never."""
MAX_FRAGMENTS = 4096
"""Frames of one WebSocket message: the limit on its bytes does not bound the number of empty ones."""
TOO_BIG = b"\x88\x02" + (1009).to_bytes(2, "big")
"""A close frame."""
LINGER_SECONDS = 2.0
"""How long the rest of a refused request is read and discarded, so that the client can read the refusal first."""

if sys.platform == "win32":
    PlatformEventLoop = asyncio.ProactorEventLoop
else:
    PlatformEventLoop = asyncio.SelectorEventLoop


class Connections:
    """The open connections of one server.

    Attributes:
        accepting: whether new connections are served; where not, they get 503.
    """

    def __init__(self, limits: Limits):
        self.limits = limits
        self.accepting = True
        self._by_client: dict[tuple[str, int], Connection] = {}

    def __len__(self) -> int:
        return len(self._by_client)

    def add(self, connection: "Connection") -> None:
        """Add a connection that is open."""
        self._by_client[connection.client] = connection

    def remove(self, connection: "Connection") -> None:
        """Remove a connection that is closed."""
        if self._by_client.get(connection.client) is connection:  # a client may use a port again at once
            del self._by_client[connection.client]

    def find(self, scope: Scope) -> "Connection | None":
        """The connection of an ASGI scope; None for one that is closed."""
        client = scope.get("client")
        return None if client is None else self._by_client.get((client[0], client[1]))


class Connection(asyncio.Protocol):
    """A connection with deadlines, around the protocol that serves it.

    Args:
        protocol: the protocol that serves the connection. It is called as asyncio would call it.
        connections: where the connection is added while it is open.
    """

    transport: asyncio.Transport
    client: tuple[str, int]

    def __init__(self, protocol: asyncio.Protocol, connections: Connections):
        self._protocol, self._connections, self._limits = protocol, connections, connections.limits
        self._loop = asyncio.get_running_loop()
        self._reader, self._frames = RequestReader(), FrameReader()
        self._responses = 0
        self._response_started = False
        self._half_closed = False  # the client sends nothing any more
        self._upgraded = False
        self._in_handshake = False  # of the upgrade
        self._detached = False  # the protocol is not called any more
        self._closing = False  # nothing is written any more
        self._read_paused = False  # by the protocol
        self._write_paused = False
        self._awaiting: object = None  # what the deadline is for
        self._deadline: asyncio.TimerHandle | None = None
        self._written = self._taken = 0
        self._write_deadline: asyncio.TimerHandle | None = None
        self._lost = asyncio.Event()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the deadline of the first head."""
        self.transport = cast(asyncio.Transport, transport)
        self.client = transport.get_extra_info("peername")[:2]
        full = not self._connections.accepting or len(self._connections) >= self._limits.max_connections
        self._connections.add(self)
        if full:
            self._detached = True
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)
            return
        self._protocol.connection_made(cast(asyncio.Transport, ProtocolTransport(self)))
        self._update_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers."""
        self._closing = True
        self._connections.remove(self)
        for timer in (self._deadline, self._write_deadline):
            if timer is not None:
                timer.cancel()
        self._detach(exc)
        self._lost.set()

    def data_received(self, data: bytes) -> None:
        """Pass bytes on, unless the request was refused."""
        if self._detached or self._closing:
            return
        if not self._upgraded:
            self._reader.feed(data)
            if self._reader.head_bytes > self._limits.max_header:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
                return
            if self._reader.refused:
                self._refuse(HTTPStatus.BAD_REQUEST)
                return
            self._update_deadline()
            self._protocol.data_received(data)
            return
        for piece in self._frames.split(data):
            if self._frames.fragments > MAX_FRAGMENTS:
                self._end(TOO_BIG)
            if self._closing:
                return
            self._protocol.data_received(piece)

    def eof_received(self) -> bool | None:
        """Keep the connection for a client that has sent a whole request and waits for its response."""
        if self._detached or self._closing:
            return None
        if self._upgraded:
            return self._protocol.eof_received()
        if self._reader.part is not Part.NEXT or not self._unanswered or self._response_started:
            return None
        self._half_closed = True
        return True

    def pause_writing(self) -> None:
        """Pass on that the client reads more slowly than the server writes.

        Nothing is read from a WebSocket meanwhile: its protocol answers each ping at once, whether or not its client
        takes the answers.
        """
        self._write_paused = True
        if self._upgraded and not self._closing:
            self.transport.pause_reading()
        if not self._detached:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Pass on that more may be written."""
        self._write_paused = False
        if self._upgraded and not self._closing and not self._read_paused:
            self.transport.resume_reading()
        if not self._detached:
            self._protocol.resume_writing()

    # for ConnectionMiddleware

    @property
    def ends_with_response(self) -> bool:
        """Whether the response that starts now is the last: no request follows it."""
        return (self._half_closed or self._reader.ended) and self._unanswered == 1

    def start_session(self) -> None:
        """Note that the protocol of a WebSocket has called the application, which answers the handshake.

        For a handshake that it cannot read it does neither that nor anything else.
        """
        self._set_deadline(None)

    async def wait_lost(self) -> None:
        """Wait until the connection is closed."""
        await self._lost.wait()

    def start_response(self) -> None:
        """Note that the response to the oldest request has started."""
        self._response_started = True

    def end_response(self) -> None:
        """Note that the response to the oldest request is complete."""
        self._responses += 1
        self._response_started = False
        if not self._closing:
            self._update_deadline()

    # for ProtocolTransport

    @property
    def closing(self) -> bool:
        """Whether nothing more is written."""
        return self._closing or self.transport.is_closing()

    @property
    def protocol(self) -> asyncio.Protocol:
        """The protocol that serves the connection."""
        return self._protocol

    def upgrade(self, protocol: asyncio.Protocol) -> None:
        """Let another protocol serve the connection, such as that of a WebSocket.

        Nothing is read until the protocol has answered: a client may not send before that.
        """
        self._protocol, self._upgraded = protocol, True
        if self._closing:  # it has refused the handshake already
            return
        self._in_handshake = True
        self._set_deadline(HANDSHAKE_SECONDS, lambda: self._end(format_refusal(HTTPStatus.BAD_REQUEST)))
        self.transport.pause_reading()

    def write(self, data: bytes) -> None:
        """Write, and watch whether the client takes it."""
        if self._closing:
            return
        self.transport.write(data)
        self._written += len(data)
        if self._in_handshake:
            self._in_handshake = False
            self.transport.resume_reading()
        if self._write_deadline is None and self.transport.get_write_buffer_size():
            self._start_write_deadline()

    def pause_reading(self) -> None:
        """Stop reading, except while the rest of a refused request is discarded."""
        self._read_paused = True
        if not self.closing:
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again, unless a client of a WebSocket has to take what was written first."""
        self._read_paused = False
        if not (self._upgraded and self._write_paused):
            self.transport.resume_reading()

    def close(self) -> None:
        """Close the connection, after the rest of a request that was not read.

        With unread bytes, closing at once would send a reset, and a client that is still sending would lose the
        response.
        """
        if self.closing:
            return
        if self._upgraded or self._reader.part is not Part.BODY:
            self._closing = True
            self.transport.close()
        else:
            self._linger()

    # private

    @property
    def _unanswered(self) -> int:
        return self._reader.requests - self._responses

    def _detach(self, exc: Exception | None) -> None:
        if not self._detached:
            self._detached = True
            self._protocol.connection_lost(exc)

    def _refuse(self, status: HTTPStatus) -> None:
        """Answer in place of the protocol, unless a response has started, and end the connection."""
        before = self._unanswered - (self._reader.part is Part.BODY)  # requests whose responses come first
        self._end(format_refusal(status) if before == 0 and not self._response_started else b"")

    def _end(self, data: bytes) -> None:
        """Send the last bytes in place of the protocol, and end the connection."""
        self.write(data)
        self._linger()
        self._detach(None)

    def _linger(self) -> None:
        """Send the end of the stream, discard what still comes for a while, and close."""
        self._closing = True
        if not self.transport.can_write_eof():
            self.transport.close()
            return
        try:
            self.transport.write_eof()
        except OSError:  # the client has left, and the event loop has not noticed yet
            self.transport.abort()
            return
        self.transport.resume_reading()
        self._set_deadline(LINGER_SECONDS, self.transport.close)

    def _update_deadline(self) -> None:
        """Start the deadline of what the client must do next, unless it runs already."""
        part, limits = self._reader.part, self._limits
        must_act = part is Part.BODY or not self._unanswered
        awaiting = (part, self._reader.requests) if must_act else None
        if awaiting == self._awaiting:
            return
        self._awaiting = awaiting
        if not must_act:
            self._set_deadline(None)
        elif part is Part.NEXT:
            self._set_deadline(limits.keep_alive_seconds, self.close)
        else:
            seconds = limits.header_seconds if part is Part.HEAD else limits.body_seconds
            self._set_deadline(seconds, self._time_out)

    def _set_deadline(self, seconds: float | None, callback: Callable[[], None] = lambda: None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self._loop.call_later(seconds, callback)

    def _time_out(self) -> None:
        if not self.closing:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)

    def _start_write_deadline(self) -> None:
        self._taken = self._written - self.transport.get_write_buffer_size()
        self._write_deadline = self._loop.call_later(self._limits.write_seconds, self._check_write)

    def _check_write(self) -> None:
        """Abort where the client has taken nothing since the deadline started. Closing alone would wait for it."""
        self._write_deadline = None
        unsent = self.transport.get_write_buffer_size()
        if not unsent:
            return
        if self._written - unsent == self._taken:
            self.transport.abort()
        else:
            self._start_write_deadline()


def format_refusal(status: HTTPStatus) -> bytes:
    """A response without a body, after which the connection is closed."""
    line = f"HTTP/1.1 {status.value} {status.phrase}\r\n"
    return f"{line}content-length: 0\r\nconnection: close\r\n\r\n".encode()


class ProtocolTransport:
    """The transport of a `Connection` as its protocol sees it; what is not defined here is asyncio's."""

    def __init__(self, connection: Connection):
        self._connection = connection

    def write(self, data: bytes) -> None:
        """Write bytes."""
        self._connection.write(data)

    def writelines(self, list_of_data: Iterable[bytes]) -> None:
        """Write several pieces."""
        self._connection.write(b"".join(list_of_data))

    def close(self) -> None:
        """Close, after the rest of the request."""
        self._connection.close()

    def is_closing(self) -> bool:
        """Whether nothing more is written."""
        return self._connection.closing

    def pause_reading(self) -> None:
        """Stop reading."""
        self._connection.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        self._connection.resume_reading()

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The protocol that serves the connection."""
        return self._connection.protocol

    def set_protocol(self, protocol: asyncio.Protocol) -> None:
        """Change the protocol that serves the connection."""
        self._connection.upgrade(protocol)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection.transport, name)


class LimitedEventLoop(PlatformEventLoop):
    """An event loop whose servers put limits on their connections; such a loop is asyncio's way to extend a server.

    Args:
        connections: where the open connections are added.
    """

    def __init__(self, connections: Connections):
        super().__init__()
        self._connections = connections

    async def create_server(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, protocol_factory: Callable[[], asyncio.Protocol], *args: Any, **options: Any
    ) -> asyncio.Server:
        """Create a server as asyncio does, with each protocol wrapped."""
        return await super().create_server(lambda: Connection(protocol_factory(), self._connections), *args, **options)


class ConnectionMiddleware:
    """Reports to each connection when its responses start and end. It is the outermost, and sees every response."""

    def __init__(self, app: ASGIApp, connections: Connections):
        self._app, self._connections = app, connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        connection = self._connections.find(scope)
        if connection is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._serve_websocket(connection, scope, receive, send)
        else:
            await self._serve_http(connection, scope, receive, send)

    async def _serve_http(self, connection: Connection, scope: Scope, receive: Receive, send: Send) -> None:
        complete = False

        async def report(message: Message) -> None:
            nonlocal complete
            if message["type"] == "http.response.start":
                connection.start_response()
                if connection.ends_with_response:
                    others = [(name, value) for name, value in message["headers"] if name.lower() != b"connection"]
                    message = {**message, "headers": [*others, (b"connection", b"close")]}
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                complete = True
                connection.end_response()

        try:
            await self._app(scope, receive, report)
        finally:
            if not complete:
                connection.end_response()

    async def _serve_websocket(self, connection: Connection, scope: Scope, receive: Receive, send: Send) -> None:
        refused = False
        connection.start_session()

        async def report(message: Message) -> None:
            nonlocal refused
            refused |= message["type"] == "websocket.http.response.start"
            if message["type"] in ("websocket.send", "websocket.close") and connection.closing:
                raise OSError("the connection was closed")  # as in ASGI; uvicorn raises RuntimeError after a bad frame
            await send(message)

        await self._app(scope, receive, report)
        if refused:
            await connection.wait_lost()  # else uvicorn logs a handshake without an answer, though it was answered
