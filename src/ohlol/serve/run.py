"""A server from its settings: what may be bound to, uvicorn's own settings, and running until it is told to stop."""

import os
import secrets
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ohlol.serve.access import LOOPBACK, Access, is_loopback
from ohlol.serve.limits import Limits
from ohlol.serve.metrics import Metrics
from ohlol.serve.models import Models, named
from ohlol.serve.server import BACKLOG, Server
from ohlol.serve.service import Service
from ohlol.utils.errors import InputError

KEY_VARIABLE = "OHLOL_API_KEY"
SHORTEST_KEY = 16
OTHER_FILES = 128
"""File handles kept for what is no connection."""


def key_from(file: Path | None) -> str | None:
    """The key that requests must have: from a file, or the environment; None where there is none.

    Raises:
        InputError: the file cannot be read, or the key is too short or no plain text.
    """
    try:
        key = file.read_text(encoding="utf-8") if file is not None else os.environ.get(KEY_VARIABLE)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--api-key {file}: cannot be read: {error}") from None
    if key is None:
        return None
    key, source = key.strip(), KEY_VARIABLE if file is None else f"--api-key {file}"
    if len(key) < SHORTEST_KEY or not key.isascii() or not key.isprintable() or " " in key:
        raise InputError(
            f"{source}: a key has {SHORTEST_KEY} ASCII characters at least and no space, such as "
            f"{secrets.token_urlsafe(24)}"
        )
    return key


def access_for(host: str, key: str | None, hosts: Sequence[str], origins: Sequence[str]) -> Access:
    """Who may ask a server that listens on `host`.

    Raises:
        InputError: others than this machine could, and there is no key.
    """
    for origin in origins:
        if origin == "*" or "://" not in origin or origin.endswith("/"):
            raise InputError(f"--allow-origin is {origin!r}; give one whole origin, such as https://example.org")
    if is_loopback(host):
        return Access(key, (*LOOPBACK, *hosts), tuple(origins))
    if key is None:
        raise InputError(
            f"--host {host} can be reached from other machines, which needs a key: give --api-key FILE, or set "
            f"{KEY_VARIABLE}"
        )
    return Access(key, tuple(hosts), tuple(origins))


def serve(
    runs: Sequence[str],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    key: str | None = None,
    hosts: Sequence[str] = (),
    origins: Sequence[str] = (),
    limits: Limits | None = None,
    log: bool = False,
) -> None:
    """Serve some runs until the process is told to stop.

    Args:
        runs: directories, or NAME=directory.
        host: what to listen on.
        port: 0 takes a free one.
        key: what requests must bring.
        hosts: names under which it is asked, beside those of this machine; off loopback all are taken without it.
        origins: of pages that may ask, beside its own.
        limits: what it takes.
        log: whether every request is a line on standard error.

    Raises:
        InputError: a run cannot be read, the port is taken, or others could ask without a key.
    """
    limits = limits or Limits()
    access = access_for(host, key, hosts, origins)
    table = named(runs)
    metrics = Metrics()
    service = Service(Models(table, limits, metrics.batch), access, limits, metrics)
    listening = _listen(host, port)
    _allow_files(limits.connections)
    shown = f"[{host}]" if ":" in host else host
    line = f"serving {', '.join(table)} on http://{shown}:{listening.getsockname()[1]}/ (Ctrl-C stops)"

    async def reload() -> None:
        for told in await service.reload():
            print(f"ohlol: {_became(told)}", file=sys.stderr, flush=True)

    with listening:
        Server(service, listening, reload=reload, on_start=lambda: print(line, flush=True), log=log).run()


def _became(told: Mapping[str, Any]) -> str:
    """What became of a model that was read again, for whoever sent the signal."""
    if told["error"]:
        return f"{told['name']} stays as it was: {told['error']}"
    return f"{told['name']} is {'another now' if told['changed'] else 'the same'}: {told['identity'][:12]}"


def _listen(host: str, port: int) -> socket.socket:
    with ExitStack() as undone:
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            made = undone.enter_context(socket.socket(family))
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((host, port))
            made.listen(BACKLOG)
        except (OSError, OverflowError) as error:
            raise InputError(f"--host {host} --port {port}: {getattr(error, 'strerror', None) or error}") from None
        undone.pop_all()
    made.setblocking(False)
    return made


def _allow_files(connections: int) -> None:
    """Let the process have a file handle for every connection, as far as the system lets it."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
