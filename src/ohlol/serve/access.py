"""Access control before the application: host, origin, API key, body size; security headers and request metrics."""

import base64
import hmac
import ipaddress
import json
import re
import time
from collections.abc import Collection
from dataclasses import dataclass, field

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ohlol.serve.limits import Limits
from ohlol.serve.metrics import Metrics
from ohlol.utils.digits import parse_digits

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
PUBLIC_PATHS = ("/", "/healthz", "/readyz", "/docs", "/openapi.json")
"""Paths that need no key. They contain nothing of the models; the page requests that with the key."""
KEY_PROTOCOL = "ohlol.key."
"""A browser cannot set a header on a WebSocket: the key comes as a second subprotocol besides `ohlol`, in base64url."""
SECURITY_HEADERS = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
"""Headers of every response that does not set them itself."""
SINGLE_HEADERS = ("host", "origin", "authorization", "content-type", "content-length")
"""Headers that a request may have once: a proxy might read one of two, and the server the other."""
HOST_HEADER = re.compile(r"(\[(?P<ipv6>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(:[0-9]{1,5})?", re.IGNORECASE)


@dataclass(frozen=True)
class Access:
    """Which requests are allowed."""

    key: str | None = None
    """What a request must bring; None where none is needed."""
    hosts: Collection[str] = LOOPBACK_HOSTS
    """Names in the Host header that are accepted, which prevents DNS rebinding; empty accepts any."""
    origins: Collection[str] = field(default_factory=tuple[str, ...])
    """Origins besides the server's own whose pages may send requests."""

    def find_refusal(self, scope: Scope) -> tuple[int, str] | None:
        """The status and the reason with which a request is refused; None for one that is allowed."""
        headers = Headers(scope=scope)
        for name in SINGLE_HEADERS:
            if len(headers.getlist(name)) > 1:
                return 400, f"the header {name} occurs more than once"
        encodings = [value.lower() for value in headers.getlist("transfer-encoding")]
        if encodings and (encodings != ["chunked"] or scope["http_version"] == "1.0"):
            return 400, "the only transfer encoding that is supported is chunked, in HTTP/1.1"
        host = headers.get("host", "")
        name = parse_host(host)
        if not name and ("host" in headers or scope["http_version"] != "1.0"):
            return 400, f"the header host is {host[:100]!r}; it must be a name or an address, and a port"
        if self.hosts and name not in self.hosts:
            return 421, f"this server is not {host[:100]!r}; its names are {', '.join(self.hosts)}"
        origin = headers.get("origin")
        has_effect = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD", "OPTIONS")
        if origin is not None and has_effect and not self.allows_origin(origin, host):
            return 403, f"pages of {origin[:100]} may not send requests to this server; see its setting allow_origin"
        if scope["type"] == "http" and scope["method"] == "OPTIONS" and origin in self.origins:
            return None  # a CORS preflight request has no key
        path = scope["path"]
        if self.key is None or path in PUBLIC_PATHS or path.startswith("/static/") or self._has_key(scope):
            return None
        return 401, "a key is needed: Authorization: Bearer KEY"

    def allows_origin(self, origin: str, host: str) -> bool:
        """Whether pages of an origin may send requests to the server at `host`."""
        own = (f"http://{host}".lower(), f"https://{host}".lower())
        return origin in self.origins or (bool(host) and origin.lower() in own)

    def _has_key(self, scope: Scope) -> bool:
        assert self.key is not None
        scheme, _, value = Headers(scope=scope).get("authorization", "").partition(" ")
        key = value.strip() if scheme.lower() == "bearer" else ""
        if not key and scope["type"] == "websocket":
            protocol = next((name for name in scope["subprotocols"] if name.startswith(KEY_PROTOCOL)), "")
            key = decode_base64url(protocol.removeprefix(KEY_PROTOCOL))
        return hmac.compare_digest(key.encode("utf-8", "surrogatepass"), self.key.encode())


def parse_host(header: str) -> str:
    """The name in a Host header, without the port; empty for a header that is not valid.

    >>> parse_host("localhost:8000"), parse_host("[::1]:8000"), parse_host("localhost#.example"), parse_host("x:y:z")
    ('localhost', '::1', '', '')
    """
    match = HOST_HEADER.fullmatch(header)
    return "" if match is None else (match["ipv6"] or match["name"]).lower()


def decode_base64url(text: str) -> str:
    """Decode base64url without padding; empty for what is not valid."""
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


class AccessMiddleware:
    """Refuses requests that are not allowed or too large, adds security headers, and counts requests."""

    def __init__(self, app: ASGIApp, access: Access, limits: Limits, metrics: Metrics):
        self.app, self.access, self.limits, self.metrics = app, access, limits, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on to the application, or refuse it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] == "websocket":
            refusal = self.access.find_refusal(scope)
            if refusal is not None:
                await refuse_websocket(send, *refusal)
            else:
                await self.app(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}  # as in RFC 9110; the server leaves out the body of the response
        await self._serve_http(scope, receive, send)

    async def _serve_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        start, status = time.perf_counter(), 500
        remaining = self.limits.max_body
        too_large = f"the body has more than {remaining:,} bytes, the most that this server reads"

        async def receive_limited() -> Message:
            nonlocal remaining
            message = await receive()
            remaining -= len(message.get("body", b""))
            if remaining < 0:
                raise HTTPException(413, too_large, {"connection": "close"})
            return message

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                present = {name.lower() for name, _ in message["headers"]}
                missing = [(n.encode(), v.encode()) for n, v in SECURITY_HEADERS.items() if n.encode() not in present]
                message["headers"] = [*message["headers"], *missing]
            await send(message)

        refusal = self.access.find_refusal(scope)
        length = parse_digits(Headers(scope=scope).get("content-length", "0"), 18)
        if refusal is None and (length is None or length > remaining):
            refusal = 413, too_large
        try:
            if refusal is not None:
                await refuse(send_with_headers, *refusal)
            else:
                await self.app(scope, receive_limited, send_with_headers)
        finally:
            route = getattr(scope.get("route"), "path", None) or "none"
            self.metrics.requests.labels(route, scope["method"], status).inc()
            self.metrics.seconds.labels(route).observe(time.perf_counter() - start)


async def refuse(send: Send, status: int, detail: str) -> None:
    """Refuse a request, and close the connection, since the body may not have been read."""
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


async def refuse_websocket(send: Send, status: int, detail: str) -> None:
    """Refuse the handshake of a WebSocket."""
    body = json.dumps({"detail": detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})
