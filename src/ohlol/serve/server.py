"""The HTTP server: uvicorn around an application, with limits on connections, signals and a graceful stop."""

import asyncio
import logging
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from types import FrameType

import uvicorn

from ohlol.serve.app import make_app
from ohlol.serve.connections import ConnectionMiddleware, Connections, LimitedEventLoop
from ohlol.serve.service import Service

BACKLOG = 1024
"""Connections that the system queues until they are accepted."""
MAX_LOGGED = 300
"""Characters of a request's target in the log."""
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(levelname)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {"uvicorn": {"handlers": ["stderr"], "propagate": False}},
}
"""What uvicorn logs goes to standard error; by default it writes requests to standard output."""
STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name))


class Server:
    """A server of one service.

    Args:
        service: what is served.
        listening: a socket that listens already. Connections are queued until the models are loaded.
        reload: called on SIGHUP.
        on_start: called once requests are answered and signals are handled.
        log: whether every request is logged.
    """

    def __init__(
        self,
        service: Service,
        listening: socket.socket,
        *,
        reload: Callable[[], Awaitable[object]] | None = None,
        on_start: Callable[[], object] = lambda: None,
        log: bool = False,
    ):
        limits = service.limits
        self._service, self._listening, self._on_start = service, listening, on_start
        self._reload = reload or service.reload
        self._connections = Connections(limits)
        self._received: list[int] = []
        self._tasks: set[asyncio.Future[object]] = set()
        config = uvicorn.Config(
            ConnectionMiddleware(make_app(service), self._connections),
            http="httptools",
            ws="websockets-sansio",
            ws_max_size=limits.max_message,
            ws_per_message_deflate=False,
            lifespan="on",
            timeout_graceful_shutdown=max(1, round(limits.grace)),
            timeout_keep_alive=max(1, round(limits.keep_alive_seconds)),
            proxy_headers=False,
            server_header=False,
            access_log=log,
            log_config=LOGGING,
            log_level="info" if log else "warning",
            backlog=BACKLOG,
        )
        logging.getLogger("uvicorn.error").addFilter(shorten_client_error)
        logging.getLogger("uvicorn.access").addFilter(shorten_target)
        self._server = uvicorn.Server(config)

    def run(self) -> None:
        """Serve until `stop` is called or the process gets a signal to stop, which is raised again afterwards."""
        with asyncio.Runner(loop_factory=lambda: LimitedEventLoop(self._connections)) as runner:
            self._loop = runner.get_loop()
            runner.run(self._serve())
        for number in self._received:
            signal.raise_signal(number)

    def stop(self) -> None:
        """Stop: refuse new connections, let streams send their tokens, finish other requests. From any thread."""
        self._loop.call_soon_threadsafe(lambda: self._start(self._stop()))

    async def _serve(self) -> None:
        serving = asyncio.create_task(self._server.serve(sockets=[self._listening]))
        started = asyncio.create_task(self._service.started.wait())
        await asyncio.wait((serving, started), return_when=asyncio.FIRST_COMPLETED)
        started.cancel()
        with self._handle_signals():
            if not serving.done():
                self._on_start()
            await serving

    async def _stop(self) -> None:
        self._connections.accepting = False
        await self._service.stop()
        self._server.should_exit = True

    def _start(self, work: Awaitable[object]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @contextmanager
    def _handle_signals(self) -> Generator[None]:
        """Stop and reload on signals, which come to the main thread.

        uvicorn has its own handlers for the signals to stop, which end streams without their tokens. They are put
        back on the first signal, so that a second one ends the wait.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(number: int, frame: FrameType | None) -> None:
            for one, handler in before.items():
                signal.signal(one, handler)
            self._received.append(number)
            self.stop()

        before = {number: signal.signal(number, stop) for number in STOP_SIGNALS}
        if hasattr(signal, "SIGHUP"):
            self._loop.add_signal_handler(signal.SIGHUP, lambda: self._start(self._reload()))
        try:
            yield
        finally:
            if hasattr(signal, "SIGHUP"):
                self._loop.remove_signal_handler(signal.SIGHUP)


def shorten_target(record: logging.LogRecord) -> bool:
    """Shorten the target in the line of a request, which may be as long as the head of the request."""
    if isinstance(record.args, tuple):
        record.args = tuple(
            value[:MAX_LOGGED] + "..." if isinstance(value, str) and len(value) > MAX_LOGGED else value
            for value in record.args
        )
    return True


def shorten_client_error(record: logging.LogRecord) -> bool:
    """Log text that is not UTF-8 as one warning: it is the client's mistake, and uvicorn logs a traceback.

    The exception is raised where it is logged. One that comes from the application has more frames, and is a bug.
    """
    if record.exc_info is not None and isinstance(record.exc_info[1], UnicodeDecodeError):
        traceback = record.exc_info[2]
        if traceback is not None and traceback.tb_next is None:
            record.exc_info = None
            record.levelno, record.levelname = logging.WARNING, logging.getLevelName(logging.WARNING)
    return True
