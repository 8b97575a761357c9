"""Where requests and WebSocket frames begin and end in the bytes of a client."""

from collections.abc import Iterator
from enum import Enum
from typing import NoReturn

import httptools


class Part(Enum):
    """What the next bytes of a client belong to."""

    HEAD = "head"
    BODY = "body"
    NEXT = "next request"


class RequestReader:
    """Follows the bytes of a client from request to request.

    Attributes:
        part: what the next bytes belong to. A connection starts in a head.
        requests: complete heads so far.
        head_bytes: bytes of a head that is not complete.
        ended: whether no further request is read, since the client asked for another protocol.
        refused: whether a request is valid for the parser, but must not reach the application.
    """

    def __init__(self) -> None:
        self.part, self.requests, self.head_bytes = Part.HEAD, 0, 0
        self.ended = self.refused = False
        self._invalid = False
        self._target, self._host = b"", b""
        self._parser = httptools.HttpRequestParser(self)
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn, so that both read alike

    def feed(self, data: bytes) -> None:
        """Read bytes. After bytes that are not HTTP, all further ones count as the rest of a body."""
        if self._invalid:
            return
        if self.part is Part.NEXT:
            self.part = Part.HEAD  # also for the empty lines that may precede a request
        head_before, requests_before = self.part is Part.HEAD, self.requests
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.ended = True  # the server decides whether it upgrades
        except httptools.HttpParserError:
            self.part, self._invalid = Part.BODY, True
        if head_before and self.requests == requests_before:
            self.head_bytes += len(data)
        else:
            self.head_bytes = 0

    def on_message_begin(self) -> None:
        """A head starts; called by the parser, like the methods below."""
        self.part = Part.HEAD
        self._target, self._host = b"", b""

    def on_url(self, target: bytes) -> None:
        """A piece of the request's target."""
        self._target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; after the body it is a trailer, which the server would take for a header of the request."""
        if self.part is not Part.HEAD:
            self._refuse("trailers are not supported")
        if name.lower() == b"host":
            self._host = value

    def on_headers_complete(self) -> None:
        """A head is complete."""
        self.part = Part.BODY
        self.requests += 1
        if self._parser.get_http_version() not in ("1.0", "1.1"):
            self._refuse("the version is not supported")
        _, is_absolute, rest = self._target.partition(b"://")
        if is_absolute and not self._target.startswith(b"/") and rest.partition(b"/")[0].lower() != self._host.lower():
            self._refuse("the target has another host than the header")

    def on_message_complete(self) -> None:
        """A request is complete."""
        self.part = Part.NEXT

    def _refuse(self, reason: str) -> NoReturn:
        self.refused = True
        raise ValueError(reason)  # which ends the parser


class FrameReader:
    """Splits the bytes of a WebSocket client into frames.

    uvicorn raises an exception where text that is not UTF-8 and a close frame arrive together, and none of its limits
    bounds the number of empty fragments.

    Attributes:
        fragments: frames of the message that is not complete.
    """

    def __init__(self) -> None:
        self.fragments = 0
        self._head = b""
        self._payload = 0  # bytes of the payload that are still to come

    def split(self, data: bytes) -> Iterator[bytes]:
        """Pieces of the bytes, none of which goes on after the end of a frame."""
        start = 0
        while start < len(data):
            if self._payload:
                end = start + self._payload
                self._payload -= len(data[start:end])
            else:
                end = start + self._count_missing()
                self._head += data[start:end]
                if not self._count_missing():
                    self._start_payload()
            yield data[start:end]
            start = end

    def _count_missing(self) -> int:
        """Bytes up to the end of a frame's head, as far as the ones before them show it."""
        size = 2
        if len(self._head) >= size:
            size += {126: 2, 127: 8}.get(self._head[1] & 0x7F, 0) + (4 if self._head[1] & 0x80 else 0)
        return size - len(self._head)

    def _start_payload(self) -> None:
        first, second = self._head[0], self._head[1] & 0x7F
        self._payload = second if second < 126 else int.from_bytes(self._head[2 : 4 if second == 126 else 10], "big")
        self._head = b""
        if not first & 0x08:  # not a control frame
            self.fragments = 0 if first & 0x80 else self.fragments + 1
