"""What stands before every request: host, origin, key, size, security headers, counting; knows nothing of models."""

import base64
import hmac
import ipaddress
import json
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ohlol.serve.limits import Limits
from ohlol.serve.metrics import Metrics

LOOPBACK = ("localhost", "127.0.0.1", "::1")
OPEN = ("/", "/healthz", "/readyz", "/docs", "/openapi.json")
"""Paths that need no key: they hold nothing of the models. What the page needs of them it asks with the key."""
KEY_PROTOCOL = "ohlol.key."
"""A browser cannot give a WebSocket a header: the key comes as a subprotocol, in base64url, beside `ohlol`."""
SECURITY = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
"""Headers of every answer that does not set them itself."""


@dataclass(frozen=True)
class Access:
    """Who may ask."""

    key: str | None = None
    hosts: Collection[str] = LOOPBACK
    """Names that a request may be addressed to, so that no foreign name that leads here does; empty for any."""
    origins: Collection[str] = field(default_factory=tuple[str, ...])
    """Origins beside the server's own whose pages may ask."""

    def refused(self, scope: Scope) -> tuple[int, str] | None:
        """Status and reason where a request may not go on."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self.hosts and name_of(host) not in self.hosts:
            return 421, f"this server is not {host[:100]!r}; its names are {', '.join(self.hosts)}"
        origin = headers.get("origin")
        asks = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD", "OPTIONS")
        if origin is not None and asks and not self.welcome(origin, host):
            return 403, f"pages of {origin[:100]} may not ask here; --allow-origin lets them"
        if scope["type"] == "http" and scope["method"] == "OPTIONS" and origin in self.origins:
            return None  # a browser asks whether it may ask, and cannot bring the key yet
        path = scope["path"]
        if self.key is not None and path not in OPEN and not path.startswith("/static/") and not self._has_key(scope):
            return 401, "a key is needed: Authorization: Bearer KEY"
        return None

    def welcome(self, origin: str, host: str) -> bool:
        """Whether pages of an origin may ask."""
        if origin in self.origins:
            return True
        try:
            found = urlsplit(origin)
            return found.scheme in ("http", "https") and bool(host) and found.netloc.lower() == host.lower()
        except ValueError:
            return False

    def _has_key(self, scope: Scope) -> bool:
        assert self.key is not None
        headers = Headers(scope=scope)
        scheme, _, given = headers.get("authorization", "").partition(" ")
        given = given.strip() if scheme.lower() == "bearer" else ""
        if not given and scope["type"] == "websocket":
            offered = next((p for p in scope["subprotocols"] if p.startswith(KEY_PROTOCOL)), "")
            given = unwrapped(offered.removeprefix(KEY_PROTOCOL))
        return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), self.key.encode())


def name_of(host: str) -> str:
    """The name in a Host header, without its port.

    >>> name_of("localhost:8000"), name_of("[::1]:8000"), name_of("x:y:z")
    ('localhost', '::1', '')
    """
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port  # raises where what follows the name is no port
        return parts.hostname or ""
    except ValueError:
        return ""


def unwrapped(text: str) -> str:
    """base64url without padding, as text; empty where it is neither."""
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Whether an address to listen on can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Guard:
    """The outermost room of the application."""

    def __init__(self, app: ASGIApp, access: Access, limits: Limits, metrics: Metrics):
        self.app, self.access, self.limits, self.metrics = app, access, limits, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it here."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] == "websocket":
            refused = self.access.refused(scope)
            if refused is not None:
                await deny(send, *refused)
            else:
                await self.app(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}  # as RFC 9110 has it; what there is of a body the protocol leaves out
        await self._http(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        began, status = time.perf_counter(), 500
        left = self.limits.body_bytes
        too_large = f"the body has more than {left:,} bytes, the most that is read (--max-body)"

        async def bounded() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(413, too_large, {"connection": "close"})
            return message

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                given = {name.lower() for name, _ in message["headers"]}
                more = [(n.encode(), v.encode()) for n, v in SECURITY.items() if n.encode() not in given]
                message["headers"] = [*message["headers"], *more]
            await send(message)

        refused = self.access.refused(scope)
        declared = Headers(scope=scope).get("content-length", "0")
        if refused is None and (len(declared) > 18 or not declared.isdecimal() or int(declared) > left):
            refused = 413, too_large
        try:
            if refused is not None:
                await answer(guarded, *refused)
            else:
                await self.app(scope, bounded, guarded)
        finally:
            route = getattr(scope.get("route"), "path", None) or "none"
            self.metrics.requests.labels(route, scope["method"], status).inc()
            self.metrics.seconds.labels(route).observe(time.perf_counter() - began)


async def answer(send: Send, status: int, detail: str) -> None:
    """A refusal as JSON; the connection ends with it, since the body may not have been read."""
    body = json.dumps({"detail": detail}).encode()
    headers: list[tuple[bytes, bytes]] = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def deny(send: Send, status: int, detail: str) -> None:
    """Refuse a WebSocket before its handshake."""
    body = json.dumps({"detail": detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})
