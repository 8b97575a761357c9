"""uvicorn with deadlines: receiving headers, receiving a body, taking an answer; knows nothing of what is served.

uvicorn has none of the three, so that a client which sends one byte a second holds a connection for as long as it
likes. Here its protocol is wrapped: a timer runs whenever the client is the one that must do something.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import Any, cast

import uvicorn

from ohlol.serve.limits import Limits
from ohlol.utils.errors import InputError

OLDEST, BEYOND = "0.52.3", "0.55"
"""What of uvicorn was tried, as in pyproject.toml: the deadlines stand on the insides of its protocol, which may change
with any version, and before 0.52.3 it neither read a browser's list of subprotocols nor waited for a slow reader."""


def _fits(version: str) -> bool:
    def parts(text: str) -> list[int]:
        return [int(part) for part in text.split(".")[:3] if part.isdecimal()]

    return parts(OLDEST) <= parts(version) < parts(BEYOND)


if not _fits(uvicorn.__version__):
    raise InputError(
        f"ohlol serve needs uvicorn from {OLDEST} to below {BEYOND}, whose connections it puts deadlines on; "
        f"{uvicorn.__version__} is installed: pip install 'uvicorn>={OLDEST},<{BEYOND}'"
    )
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol  # noqa: E402 - there are such now
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol  # noqa: E402

LINGER = 2.0
"""Seconds for which what still comes of a refused body is thrown away, so that the client reads the refusal first."""


class Wire:
    """A transport that half-closes where the rest of a request is still on its way, and closes when that is read.

    Closing at once would send a reset, and a client that is still sending would lose the answer.
    """

    def __init__(self, transport: asyncio.Transport, unread: Callable[[], bool]):
        self.bare, self._unread, self.lingering = transport, unread, False

    def close(self) -> None:
        """Close, once the rest of the request was thrown away."""
        if self.is_closing():
            return
        if not self._unread() or not self.bare.can_write_eof():
            self.bare.close()
            return
        self.lingering = True
        try:
            self.bare.write_eof()
        except OSError:  # the client has gone, and the loop has yet to notice
            self.bare.abort()
            return
        self.bare.resume_reading()
        asyncio.get_running_loop().call_later(LINGER, self.bare.abort)

    def is_closing(self) -> bool:
        """Whether it closes or lingers."""
        return self.lingering or self.bare.is_closing()

    def write(self, data: bytes) -> None:
        """Write, except after the refusal: what the application says then is of no use to anybody."""
        if not self.lingering:
            self.bare.write(data)

    def pause_reading(self) -> None:
        """Stop reading, except while the rest is thrown away."""
        if not self.lingering:
            self.bare.pause_reading()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.bare, name)


class Drain:
    """Cuts a connection off whose client takes nothing of what was written: closing alone waits for it for ever.

    Args:
        transport: the connection.
        seconds: for which nothing may be taken.
        always: whether it watches on while nothing is to be taken.
    """

    def __init__(self, transport: asyncio.Transport, seconds: float, *, always: bool = False):
        self._transport, self._seconds, self._always = transport, seconds, always
        self._unsent = 0
        self._timer: asyncio.TimerHandle | None = None

    def watch(self) -> None:
        """Begin, unless it has begun."""
        self._unsent = self._transport.get_write_buffer_size()
        if self._timer is None and (self._unsent or self._always):
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._look)

    def stop(self) -> None:
        """The connection is gone, or somebody else's."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if 0 < self._unsent <= self._transport.get_write_buffer_size():
            self._transport.abort()
        else:
            self.watch()


class Deadlines(HttpToolsProtocol):
    """One connection that may be slow only for so long."""

    limits = Limits()
    cycle: Any  # of a request, None before the first
    parser: Any
    drain: Drain
    _timer: asyncio.TimerHandle | None = None
    _head = 0  # bytes of headers so far
    _in_head = True
    _in_body = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Start the clock of the headers."""
        self.wire = Wire(transport, lambda: self._in_body)
        self.drain = Drain(transport, self.limits.write_seconds)
        super().connection_made(cast(asyncio.Transport, self.wire))
        self._until(self.limits.header_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop every clock."""
        self._until(None)
        self.drain.stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request, while they may come."""
        if self.wire.lingering:
            return
        if self._in_head:
            self._head += len(data)
        super().data_received(data)
        if self.transport.is_closing() or self.transport.get_protocol() is not self:
            return
        if self._in_head:
            if self._head > self.limits.header_bytes:
                self._refuse(431)
            elif self._timer is None and (self.cycle is None or self.cycle.response_complete):
                self._until(self.limits.header_seconds)  # the first bytes after an answer

    def eof_received(self) -> bool | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """A client that has said all and waits for its answer gets it; any other has left."""
        cycle = self.cycle
        if cycle is None or self._in_body or cycle.response_started or self.wire.lingering:
            return None
        cycle.keep_alive = False
        return True

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head = True

    def on_headers_complete(self) -> None:
        """The clock of the body starts where that of the headers ends."""
        self._in_head, self._head, self._in_body = False, 0, True
        upgrades = self.parser.should_upgrade() and self._should_upgrade()
        self._until(None if upgrades else self.limits.body_seconds)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Everything is there; now it is our turn."""
        self._in_body, self._in_head = False, True
        self._until(None)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """What was answered must be taken."""
        super().on_response_complete()
        if self._head and self._timer is None and not self.transport.is_closing():
            self._until(self.limits.header_seconds)  # the beginning of the next request has come already
        self.drain.watch()

    def pause_writing(self) -> None:
        """The client takes its answer more slowly than we write it."""
        super().pause_writing()
        self.drain.watch()

    def handle_websocket_upgrade(self) -> None:
        """Hand the bare transport over: WebSockets have timers of their own."""
        self._until(None)
        self.drain.stop()
        self.transport = self.wire.bare
        super().handle_websocket_upgrade()

    def _until(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self.loop.call_later(seconds, self._late)

    def _late(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self._refuse(408)

    def _refuse(self, status: int) -> None:
        """Answer without the application, unless it has begun to, and end the connection."""
        if self.cycle is None or not self.cycle.response_started or (self.cycle.response_complete and self._in_head):
            self.transport.write(STATUS_LINE[status] + b"content-length: 0\r\nconnection: close\r\n\r\n")
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._in_body = True  # more of it may be on its way, and must not cost the client its answer
        self.transport.close()
        self.drain.watch()


class Socket(WebSocketsSansIOProtocol):
    """A WebSocket whose client must take what it is sent, also what is left when the session is over."""

    limits = Limits()
    drain: Drain

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Watch what is sent, to the end."""
        super().connection_made(transport)
        self.drain = Drain(cast(asyncio.Transport, transport), self.limits.write_seconds, always=True)
        self.drain.watch()

    async def send(self, message: Any) -> None:
        """Send; a handshake that was refused is through, which uvicorn would write down as an error."""
        await super().send(message)
        self.handshake_complete |= self.close_sent

    def handle_parser_exception(self) -> None:
        """End it with its code; before the handshake is through there is none, which uvicorn takes for a bug."""
        if self.conn.close_sent is None:
            self.transport.close()
        else:
            super().handle_parser_exception()

    def connection_lost(self, exc: Exception | None) -> None:
        """Watch no more."""
        self.drain.stop()
        super().connection_lost(exc)


class Server(uvicorn.Server):
    """uvicorn's server, with hooks for what it does not know of.

    Args:
        config: uvicorn's, with what `protocols` gives.
        stopping: called once when the server is told to stop, before connections are.
        again: called on SIGHUP.
        listening: called once requests and signals may come.
        signals: whether this is the main thread, which signals come to.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        stopping: Callable[[], Awaitable[None]],
        again: Callable[[], Awaitable[object]],
        *,
        listening: Callable[[], None] = lambda: None,
        signals: bool = True,
    ):
        super().__init__(config)
        self._stopping, self._again, self._listening, self._signals = stopping, again, listening, signals
        self._reloads: set[asyncio.Future[object]] = set()

    async def startup(self, sockets: Any = None) -> None:
        """Listen, to SIGHUP too."""
        await super().startup(sockets)
        if self._signals and hasattr(signal, "SIGHUP"):
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload)
        self._listening()

    async def shutdown(self, sockets: Any = None) -> None:
        """Take no more connections, let streams say goodbye, and finish what is in flight."""
        for server in self.servers:
            server.close()
        await self._stopping()
        await super().shutdown(sockets)

    def _reload(self) -> None:
        task = asyncio.ensure_future(self._again())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)


def protocols(limits: Limits) -> dict[str, Any]:
    """What uvicorn's settings say of one server's connections."""
    return {
        "http": type("Connection", (Deadlines,), {"limits": limits}),
        "ws": type("Stream", (Socket,), {"limits": limits}),
        "ws_max_size": limits.message_bytes,
        "ws_per_message_deflate": False,
    }
