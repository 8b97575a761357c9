"""`serve`: a server from its settings, which are checked before it listens."""

import os
import secrets
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ohlol.cells import import_cell
from ohlol.config import FULL_PRECISION
from ohlol.serve.access import LOOPBACK_HOSTS, Access, is_loopback
from ohlol.serve.limits import Limits
from ohlol.serve.metrics import Metrics
from ohlol.serve.models import Models, parse_runs
from ohlol.serve.server import BACKLOG, Server
from ohlol.serve.service import Service
from ohlol.utils.errors import InputError
from ohlol.utils.files import read_bytes
from ohlol.utils.terminal import print_message
from ohlol.utils.translation import join_list, translate

KEY_VARIABLE = "OHLOL_API_KEY"
MIN_KEY_LENGTH = 16
KEY_LIMIT = 1 << 16
"""Bytes of the largest file that holds a key."""
OTHER_FILES = 128
"""File descriptors besides those of connections."""


def load_key(file: Path | None) -> str | None:
    """The key that requests must bring, from a file or the environment; None where there is none.

    Raises:
        InputError: the file cannot be read, or the key is too short or not plain ASCII.
    """
    try:
        raw = read_bytes(file, KEY_LIMIT, is_regular=False) if file is not None else None
        key = raw.decode("utf-8") if raw is not None else os.environ.get(KEY_VARIABLE)
    except UnicodeDecodeError as error:
        raise InputError("`api_key` {file}: cannot be read: {error}", file=file, error=error) from None
    except InputError as error:
        raise InputError("`api_key` {error}", error=error) from None
    if key is None:
        return None
    key, source = key.strip(), KEY_VARIABLE if file is None else f"`api_key` {file}"
    if len(key) < MIN_KEY_LENGTH or not key.isascii() or not key.isprintable() or " " in key:
        raise InputError(
            "{source}: a key has at least {min_key_length} ASCII characters and no space, such as {example}",
            source=source,
            min_key_length=MIN_KEY_LENGTH,
            example=secrets.token_urlsafe(24),
        )
    return key


def make_access(host: str, key: str | None, allow_host: Sequence[str] = (), allow_origin: Sequence[str] = ()) -> Access:
    """Which requests are allowed by a server that listens on `host`.

    Raises:
        InputError: other machines could send requests, and there is no key.
    """
    for origin in allow_origin:
        if origin == "*" or "://" not in origin or origin.endswith("/"):
            raise InputError(
                "`allow_origin` is {origin!r}; it must be a whole origin, such as https://example.org", origin=origin
            )
    if is_loopback(host):
        return Access(key, (*LOOPBACK_HOSTS, *allow_host), tuple(allow_origin))
    if key is None:
        raise InputError(
            "`host` {host} can be reached from other machines, which needs a key: set `api_key` to its file, "
            "or {key_variable} to the key",
            host=host,
            key_variable=KEY_VARIABLE,
        )
    return Access(key, tuple(allow_host), tuple(allow_origin))


def serve(
    runs: Sequence[str],
    *,
    cells: Sequence[str] = (),
    precision: str = FULL_PRECISION,
    host: str = "127.0.0.1",
    port: int = 8000,
    key: str | None = None,
    allow_host: Sequence[str] = (),
    allow_origin: Sequence[str] = (),
    limits: Limits | None = None,
    log: bool = False,
) -> None:
    """Serve some runs until the process gets a signal to stop.

    Args:
        runs: directories, or NAME=directory.
        cells: cells of these runs that are to be imported, as package.module:Class.
        precision: of the recurrent weights of all models, as `ohlol.load` takes it.
        host: the address to listen on.
        port: 0 takes a free one.
        key: what requests must bring.
        allow_host: names of the server besides those of this machine; off loopback all names are accepted without it.
        allow_origin: origins whose pages may send requests, besides the server's own.
        limits: what requests may ask for.
        log: whether every request is logged to standard error.

    Raises:
        InputError: a run cannot be read, or a model not have the precision; the port is in use; or other machines could
            send requests without a key.
    """
    limits = limits or Limits()
    access = make_access(host, key, allow_host, allow_origin)
    directories = parse_runs(runs)
    for cell in cells:
        import_cell(cell)
    metrics = Metrics()
    models = Models(directories, limits, metrics.observe_batch, precision)
    for cell in cells:
        if cell not in models.cells:
            raise InputError(
                "`cell` {cell} is the cell of none of these runs: {cells}",
                cell=cell,
                cells=join_list(sorted(models.cells)),
            )
    service = Service(models, access, limits, metrics)
    listening = listen(host, port)
    _raise_file_limit(limits.max_connections)
    address = f"[{host}]" if ":" in host else host
    line = translate(
        "serving {directories} on http://{address}:{port}/ (Ctrl-C stops)",
        directories=join_list(directories),
        address=address,
        port=listening.getsockname()[1],
    )

    async def reload() -> None:
        for report in await service.reload():
            print_message(f"ohlol: {_describe_reload(report)}", sys.stderr, flush=True)

    with listening:
        Server(service, listening, reload=reload, on_start=lambda: print_message(line, flush=True), log=log).run()


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        InputError: the address cannot be used, or the port is in use.
    """
    with ExitStack() as on_error:
        try:
            # asyncio sets TCP_NODELAY only where the protocol is given; without it each response may take 40 ms
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            listening = on_error.enter_context(socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP))
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, port))
            listening.listen(BACKLOG)
        except (OSError, OverflowError) as error:
            raise InputError(
                "host {host}, port {port}: {error}",
                host=host,
                port=port,
                error=getattr(error, "strerror", None) or error,
            ) from None
        on_error.pop_all()
    listening.setblocking(False)
    return listening


def _describe_reload(report: Mapping[str, Any]) -> str:
    if report["error"]:
        return translate("{name} stays as it was: {error}", name=report["name"], error=report["error"])
    return translate(
        "{name} has changed: {identity}" if report["changed"] else "{name} is the same: {identity}",
        name=report["name"],
        identity=report["identity"][:12],
    )


def _raise_file_limit(connections: int) -> None:
    """Allow the process a file descriptor for every connection, as far as the system permits."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        limit = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
