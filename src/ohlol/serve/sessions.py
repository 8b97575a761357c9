"""The WebSocket of a model's streams: messages, timeouts and tokens.

A client sends objects as JSON, and gets one response to each, in order. An object has any of these members:

    {"read": "hel"}      read symbols: a text, a list of symbols, or a list of rows   -> "steps", one for each
    {"n_best": 3}        of the steps of this message                                 -> "best" in each step
    {"reset": true}      start a new sequence, before anything is read
    {"resume": TOKEN}    continue from a token, before anything is read
    {"token": true}      after everything was read                                    -> "token"

Every response has "read", the number of symbols in all. A message that is not valid gets {"error": "..."}, and the
state stays as it was. The server starts with {"session": ID, "model": NAME, "identity": ...}, and ends a session with
{"closing": REASON, "token": TOKEN}. A token contains the state itself, so it outlives the connection and the server.
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

from ohlol.data.symbols import split_text
from ohlol.inference.streaming import StepInput
from ohlol.serve.batching import BusyError
from ohlol.serve.encoding import MAX_ERROR, dump_json, parse_json
from ohlol.serve.models import ServedModel
from ohlol.serve.schemas import Rows, StrictModel
from ohlol.serve.service import Service
from ohlol.serve.streams import ModelStreams, StreamRequest, StreamResult, count_work
from ohlol.utils.errors import InputError, shorten

router = APIRouter()

PROTOCOL = "ohlol"
ID_BYTES = 16
"""Of a session's id: 128 random bits."""
SEAL_BYTES = 32
CODE_IDLE, CODE_RESTART = 4008, 1012
"""Close codes of a session that was idle, and of one whose server stops."""


class Message(StrictModel):
    """What a client sends."""

    read: str | Annotated[list[str], Field(fail_fast=True)] | Rows | None = None
    n_best: Annotated[int, Field(ge=1, le=100)] = 1
    reset: bool = False
    resume: str | None = None
    token: bool = False


class Tokens:
    """A session's id and state as one text, with a seal that needs the server's key.

    >>> tokens = Tokens("a key")
    >>> tokens.open(tokens.seal(bytes(16), b"state"))
    (b'\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00', b'state')
    """

    def __init__(self, key: str | None):
        self._secret = hashlib.sha256(b"ohlol stream token\0" + (key or "").encode()).digest()

    def seal(self, session: bytes, state: bytes) -> str:
        """The token of a session's id and state."""
        content = session + state
        return base64.urlsafe_b64encode(self._digest(content) + content).decode()

    def open(self, token: str) -> tuple[bytes, bytes]:
        """The session's id and the state of a token.

        Raises:
            InputError: it is not a token, was changed, or comes from a server with another key.
        """
        try:
            data = base64.b64decode(token.encode(), b"-_", validate=True)
        except ValueError:
            data = b""
        digest, content = data[:SEAL_BYTES], data[SEAL_BYTES:]
        if len(content) < ID_BYTES or not hmac.compare_digest(digest, self._digest(content)):
            raise InputError("resume: not a token of this server, or it was changed")
        return content[:ID_BYTES], content[ID_BYTES:]

    def _digest(self, content: bytes) -> bytes:
        return hmac.digest(self._secret, content, "sha256")


@dataclass
class Session:
    """One open connection."""

    socket: WebSocket
    model: ServedModel
    streams: ModelStreams
    tokens: Tokens
    service: Service
    key: int
    id: bytes

    async def run(self) -> None:
        """Answer messages until the client leaves or is idle for too long, or the server stops."""
        await self._send({"session": self.id.hex(), "model": self.model.name, "identity": self.model.model.identity})
        stopping = asyncio.create_task(self.service.stopping.wait())
        idle = self.service.limits.idle
        message: asyncio.Task[str | bytes] | None = None
        try:
            while True:
                message = asyncio.create_task(self._receive())
                done, _ = await asyncio.wait((message, stopping), timeout=idle, return_when=asyncio.FIRST_COMPLETED)
                if message not in done:
                    break
                await self._send(await self._answer(message.result()))
            if self.service.stopping.is_set():
                await self._close("the server stops", CODE_RESTART)
            else:
                await self._close(f"no message for {idle:g} s", CODE_IDLE)
        finally:
            stopping.cancel()
            if message is not None:
                message.cancel()

    async def _receive(self) -> str | bytes:
        event = await self.socket.receive()
        if event["type"] != "websocket.receive":
            raise WebSocketDisconnect(event.get("code", 1005))
        return event["text"] if event.get("text") is not None else event["bytes"]

    async def _answer(self, text: str | bytes) -> dict[str, Any]:
        try:
            content = parse_json(text)
            if not isinstance(content, dict):
                raise InputError("a message is a JSON object")
            message = Message.model_validate(content)
            request, session = self._parse(message)
            result = await self.streams.submit(request)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part)[:60] for part in first["loc"])
            return {"error": shorten(f"{where}: {first['msg']}" if where else first["msg"], MAX_ERROR)}
        except json.JSONDecodeError as error:
            return {"error": shorten(f"the message is not valid JSON: {error.msg} at character {error.pos}", MAX_ERROR)}
        except (InputError, BusyError) as error:
            return {"error": shorten(str(error), MAX_ERROR)}
        self.id = session
        if result.steps:
            self.service.metrics.steps.labels(self.model.name).inc(len(result.steps))
        answer: dict[str, Any] = {"session": self.id.hex()} if message.resume is not None else {}
        answer |= {"steps": result.steps} if message.read is not None else {}
        return answer | {"read": result.read} | self._token(result)

    def _parse(self, message: Message) -> tuple[StreamRequest, bytes]:
        """The request of a message, and the session's id after it."""
        session, state = (self.id, None) if message.resume is None else self.tokens.open(message.resume)
        limits = self.service.limits
        symbols: list[StepInput] = []
        if isinstance(message.read, str):
            symbols += split_text(message.read, self.model.model.config.data) if message.read else []
        else:
            symbols += message.read or []
        if len(symbols) > limits.max_length:
            raise InputError(
                "read: {count:,} symbols; at most {max_length:,} in a message",
                count=len(symbols),
                max_length=limits.max_length,
            )
        work = count_work(self.model.model, symbols, message.n_best)
        if work > limits.max_work:
            raise InputError(
                "read: {work:,} letters or labels; at most {max_work:,} in a message",
                work=work,
                max_work=limits.max_work,
            )
        return StreamRequest(self.key, False, state, message.reset, symbols, message.n_best, message.token), session

    def _token(self, result: StreamResult) -> dict[str, str]:
        return {} if result.state is None else {"token": self.tokens.seal(self.id, result.state)}

    async def _close(self, reason: str, code: int) -> None:
        result = await self.streams.submit(StreamRequest(self.key, state=True))
        await self._send({"closing": reason, "read": result.read} | self._token(result))
        await self.socket.close(code, reason)

    async def _send(self, content: dict[str, Any]) -> None:
        async with asyncio.timeout(self.service.limits.write_seconds):
            await self.socket.send_text(dump_json(content))


@router.websocket("/v1/models/{name}/stream")
async def stream(socket: WebSocket, name: str) -> None:
    """Open a session."""
    service: Service = socket.app.state.service
    model = service.models.served.get(name)
    if model is None:
        raise HTTPException(404, f"there is no model {name[:100]!r}; there are {', '.join(service.models.served)}")
    if model.streams is None:
        is_bidirectional = model.model.network.settings.bidirectional
        why = "forecasts whole series" if model.model.targets.horizon else "reads whole sequences"
        why = "is bidirectional" if is_bidirectional else why
        raise HTTPException(409, f"this model {why} and has no stream: use predict")
    if service.stopping.is_set():
        raise HTTPException(503, "the server stops")
    with service.sessions:
        key = await model.streams.join()
        try:
            await socket.accept(PROTOCOL if PROTOCOL in socket.scope["subprotocols"] else None)
            session = Session(
                socket, model, model.streams, Tokens(service.access.key), service, key, secrets.token_bytes(ID_BYTES)
            )
            with suppress(WebSocketDisconnect, TimeoutError):
                await session.run()
        finally:
            await model.streams.leave(key)
