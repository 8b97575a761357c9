"""The WebSocket of a model's streams: messages, time-outs and tokens; knows nothing of how a stream is read.

A client sends objects as JSON, and gets one answer to each, in order. Any of these, together or alone:

    {"read": "hel"}      read symbols: a text, a list of symbols, or a list of rows   -> "steps", one each
    {"n_best": 3}        of the steps of this message                                 -> "best" in each step
    {"reset": true}      begin anew, before anything is read
    {"resume": TOKEN}    go on from a token, before anything is read
    {"token": true}      after what was read                                          -> "token"

Every answer has "read", the number of symbols in all. What cannot be done is answered with {"error": "..."}, and the
state is as it was. The server begins with {"session": ID, "model": NAME, "identity": ...}, and ends a session with
{"closing": why, "token": TOKEN}. A token holds the state itself, so it outlives connection and server.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, WebSocket, WebSocketDisconnect
from pydantic import Field, ValidationError

from ohlol.data import sequences
from ohlol.inference.streaming import Symbol
from ohlol.serve.batching import Busy
from ohlol.serve.models import Served
from ohlol.serve.schemas import Number, Strict
from ohlol.serve.service import Service
from ohlol.serve.streams import Ask, ModelStreams, Told, work_of
from ohlol.utils.errors import InputError

router = APIRouter()

PROTOCOL = "ohlol"
ID_BYTES = 16
"""Of a session: 128 random bits."""
SEAL_BYTES = 32
IDLE, RESTARTING = 4008, 1012
"""Codes with which a session is closed."""


class Message(Strict):
    """What a client sends."""

    read: str | list[str] | list[list[Number]] | None = None
    n_best: Annotated[int, Field(ge=1, le=100)] = 1
    reset: bool = False
    resume: str | None = None
    token: bool = False


class Tokens:
    """A session's id and state as one text that only a server with the same key makes.

    >>> tokens = Tokens("a key")
    >>> tokens.opened(tokens.made(bytes(16), b"state"))
    (b'\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00', b'state')
    """

    def __init__(self, key: str | None):
        self._secret = hashlib.sha256(b"ohlol stream token\0" + (key or "").encode()).digest()

    def made(self, session: bytes, state: bytes) -> str:
        """The token."""
        content = session + state
        return base64.urlsafe_b64encode(self._seal(content) + content).decode()

    def opened(self, token: str) -> tuple[bytes, bytes]:
        """The session and the state of a token.

        Raises:
            InputError: it is no token, was changed, or comes of a server with another key.
        """
        try:
            data = base64.b64decode(token.encode(), b"-_", validate=True)
        except ValueError:
            data = b""
        seal, content = data[:SEAL_BYTES], data[SEAL_BYTES:]
        if len(content) < ID_BYTES or not hmac.compare_digest(seal, self._seal(content)):
            raise InputError("resume: no token of this server, or not as it was given")
        return content[:ID_BYTES], content[ID_BYTES:]

    def _seal(self, content: bytes) -> bytes:
        return hmac.digest(self._secret, content, "sha256")


@dataclass
class Session:
    """One connection at work."""

    socket: WebSocket
    model: Served
    streams: ModelStreams
    tokens: Tokens
    at: Service
    key: int
    id: bytes

    async def run(self) -> None:
        """Answer messages until the client leaves, is silent for too long, or the server stops."""
        await self._send({"session": self.id.hex(), "model": self.model.name, "identity": self.model.model.identity})
        stopping = asyncio.create_task(self.at.stopping.wait())
        message: asyncio.Task[str | bytes] | None = None
        try:
            while True:
                message = asyncio.create_task(self._next())
                done, _ = await asyncio.wait(
                    (message, stopping), timeout=self.at.limits.idle, return_when=asyncio.FIRST_COMPLETED
                )
                if message not in done:
                    break
                await self._send(await self._answer(message.result()))
            if self.at.stopping.is_set():
                await self._goodbye("the server stops", RESTARTING)
            else:
                await self._goodbye(f"no message for {self.at.limits.idle:g} s", IDLE)
        finally:
            stopping.cancel()
            if message is not None:
                message.cancel()

    async def _next(self) -> str | bytes:
        received = await self.socket.receive()
        if received["type"] != "websocket.receive":
            raise WebSocketDisconnect(received.get("code", 1005))
        return received["text"] if received.get("text") is not None else received["bytes"]

    async def _answer(self, text: str | bytes) -> dict[str, Any]:
        try:
            message = Message.model_validate_json(text)
            ask, session = self._ask(message)
            told = await self.streams.ask(ask)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part)[:60] for part in first["loc"])
            return {"error": f"{where}: {first['msg']}" if where else first["msg"]}
        except (InputError, Busy) as error:
            return {"error": str(error)}
        self.id = session
        if told.steps:
            self.at.metrics.steps.labels(self.model.name).inc(len(told.steps))
        answer: dict[str, Any] = {"session": self.id.hex()} if message.resume is not None else {}
        answer |= {"steps": told.steps} if message.read is not None else {}
        return answer | {"read": told.read} | self._token(told)

    def _ask(self, message: Message) -> tuple[Ask, bytes]:
        session, state = (self.id, None) if message.resume is None else self.tokens.opened(message.resume)
        symbols: list[Symbol] = []
        if isinstance(message.read, str):
            symbols += sequences.symbols_of(message.read, self.model.model.config.data) if message.read else []
        else:
            symbols += message.read or []
        if len(symbols) > self.at.limits.symbols:
            raise InputError(f"read: {len(symbols):,} symbols; at most {self.at.limits.symbols:,} in a message")
        work = work_of(self.model.model, symbols, message.n_best)
        if work > self.at.limits.work:
            raise InputError(f"read: {work:,} letters or labels; at most {self.at.limits.work:,} in a message")
        return Ask(self.key, False, state, message.reset, symbols, message.n_best, message.token), session

    def _token(self, told: Told) -> dict[str, str]:
        return {} if told.state is None else {"token": self.tokens.made(self.id, told.state)}

    async def _goodbye(self, why: str, code: int) -> None:
        told = await self.streams.ask(Ask(self.key, state=True))
        await self._send({"closing": why, "read": told.read} | self._token(told))
        await self.socket.close(code, why)

    async def _send(self, content: dict[str, Any]) -> None:
        async with asyncio.timeout(self.at.limits.write_seconds):
            await self.socket.send_text(json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False))


@router.websocket("/v1/models/{name}/stream")
async def stream(socket: WebSocket, name: str) -> None:
    """Open a session."""
    at: Service = socket.app.state.service
    model = at.models.served.get(name)
    if model is None:
        raise HTTPException(404, f"there is no model {name[:100]!r}; there are {', '.join(at.models.served)}")
    if model.streams is None:
        raise HTTPException(409, "this model reads from both its ends and has no stream: use predict")
    if at.stopping.is_set():
        raise HTTPException(503, "the server stops")
    with at.sessions:
        key = await model.streams.join()
        try:
            await socket.accept(PROTOCOL if PROTOCOL in socket.scope["subprotocols"] else None)
            session = Session(
                socket, model, model.streams, Tokens(at.access.key), at, key, secrets.token_bytes(ID_BYTES)
            )
            with suppress(WebSocketDisconnect, TimeoutError):
                await session.run()
        finally:
            await model.streams.leave(key)
