"""WebSocket streams: pieces of a sequence get the labels of the whole, and a token outlives the server."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from serving import KEY, SECONDS, ServerProcess, encode_key_protocol, run_in_thread, serve_in_thread
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from ohlol.inference.trained_model import TrainedModel
from ohlol.serve.sessions import Tokens
from ohlol.utils.errors import InputError

CLOSE = 1e-5


def open_stream(url: str, name: str, **options: Any) -> connect:
    """A connection that uses no proxy of the environment."""
    return connect(
        f"{url.replace('http', 'ws', 1)}/v1/models/{name}/stream", proxy=None, open_timeout=SECONDS, **options
    )


async def exchange(socket: ClientConnection, **message: Any) -> dict[str, Any]:
    await socket.send(json.dumps(message))
    return json.loads(await socket.recv())


def run_session(
    url: str, name: str, work: Callable[[ClientConnection, dict[str, Any]], Awaitable[Any]], **options: Any
) -> Any:
    """Open a session, receive its greeting, and call `work` with it."""

    async def run() -> Any:
        async with open_stream(url, name, **options) as socket:
            return await work(socket, json.loads(await socket.recv()))

    return run_in_thread(run())


@pytest.mark.parametrize("cuts", [[5], [1, 1, 1, 1, 1], [2, 3], [4, 1]])
def test_pieces_get_the_labels_of_the_whole(
    server: ServerProcess, models: dict[str, TrainedModel], cuts: list[int]
) -> None:
    expected = models["hello"].predict("hello", n_best=3)

    async def work(socket: ClientConnection, greeting: dict[str, Any]) -> None:
        assert greeting == {
            "session": greeting["session"], "model": "hello", "identity": models["hello"].identity,
        }  # fmt: skip
        assert len(bytes.fromhex(greeting["session"])) == 16
        steps, begin = [], 0
        for cut in cuts:
            answer = await exchange(socket, read="hello"[begin : begin + cut], n_best=3)
            begin += cut
            assert answer["read"] == begin
            steps += answer["steps"]
        assert [step["label"] for step in steps] == expected.labels
        assert [step["probability"] for step in steps] == pytest.approx(expected.probability, abs=CLOSE)
        for step, best in zip(steps, expected.best, strict=True):
            assert [label for label, _ in step["best"]] == [label for label, _ in best]
        again = await exchange(socket, reset=True, read=list("hello"))
        assert [step["label"] for step in again["steps"]] == expected.labels
        assert "best" not in again["steps"][0]
        assert await exchange(socket, reset=True) == {"read": 0}

    run_session(server.url, "hello", work)


def test_forecasts_and_classes(server: ServerProcess, models: dict[str, TrainedModel]) -> None:
    async def series(socket: ClientConnection, _: dict[str, Any]) -> None:
        rows = [[50.0 + t, 1.0] for t in range(12)]
        stream = models["sine"].stream()
        answer = await exchange(socket, read=rows)
        for step, expected in zip(answer["steps"], stream.read(rows), strict=True):
            assert step["row"] == pytest.approx(expected.row.tolist(), rel=1e-5)

    async def classes(socket: ClientConnection, _: dict[str, Any]) -> None:
        answer = await exchange(socket, read="anna")
        for end in range(1, 5):
            assert answer["steps"][end - 1]["label"] == models["names"].predict("anna"[:end]).labels[0]

    run_session(server.url, "sine", series)
    run_session(server.url, "names", classes)


INVALID: list[tuple[Any, str]] = [
    ("{", "the message is not valid JSON: Expecting property name enclosed in double quotes at character 1"),
    ("[]", "a message is a JSON object"),
    ('{"reed": "h"}', "reed: Extra inputs are not permitted"),
    ('{"read": "hexo"}', "symbol 'x' was not seen in training"),
    ('{"read": ["h", "he"]}', "a step reads one symbol"),
    ('{"read": [[1.0]]}', "a step reads one symbol"),
    ('{"read": [[NaN]]}', "NaN is not a number"),
    ('{"read": [[1e999]]}', "read"),
    ('{"read": ["' + "x" * 100_000 + '"]}', "a step reads one symbol"),
    ('{"n_best": "1"}', "n_best: Input should be a valid integer"),
    ('{"\\u001b[31m": 1}', "\\x1b[31m: Extra inputs are not permitted"),
    ('{"n_best": 0}', "n_best: Input should be greater"),
    ('{"resume": ""}', "resume: not a token of this server"),
    ('{"resume": "é"}', "resume: not a token of this server"),
    ('{"read": "' + "h" * 10_001 + '"}', "read: 10,001 symbols; at most 10,000"),
    ("[" * 100_000, ""),
    ('{"read": "\\ud800"}', ""),
    (b"\xff", ""),
    (b"{}", None),
    ('{"read": "h", "read": "e"}', "the member 'read' occurs twice"),
]


@pytest.mark.parametrize(("text", "message"), INVALID, ids=range(len(INVALID)))
def test_invalid_message_changes_nothing(server: ServerProcess, text: Any, message: str | None) -> None:
    async def work(socket: ClientConnection, _: dict[str, Any]) -> None:
        before = (await exchange(socket, read="he", token=True))["token"]
        await socket.send(text)
        answer = json.loads(await socket.recv())
        if message is None:
            assert answer == {"read": 2}
        else:
            assert message in answer["error"]
            assert len(answer["error"]) < 500
            assert answer["error"].isprintable()
        assert (await exchange(socket, token=True)) == {"read": 2, "token": before}
        assert [s["label"] for s in (await exchange(socket, read="llo"))["steps"]] == list("lol")

    run_session(server.url, "hello", work)


def test_large_message_ends_its_session(server: ServerProcess) -> None:
    async def work(socket: ClientConnection, _: dict[str, Any]) -> None:
        await socket.send("x" * (1 << 19))
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009

    run_session(server.url, "hello", work)


def test_invalid_handshakes_are_refused(server: ServerProcess, runs: dict[str, Path]) -> None:
    async def refused(url: str, name: str, status: int, **options: Any) -> str:
        with pytest.raises(InvalidStatus) as refusal:
            async with open_stream(url, name, **options):
                pass
        assert refusal.value.response.status_code == status
        return json.loads(refusal.value.response.body or b"{}")["detail"]

    async def run() -> None:
        assert "there is no model 'nobody'" in await refused(server.url, "nobody", 404)
        assert "is bidirectional and has no stream" in await refused(server.url, "upper", 409)
        assert "forecasts whole series and has no stream" in await refused(server.url, "shops", 409)
        assert "may not send requests to this server" in await refused(
            server.url, "hello", 403, origin="https://elsewhere.example"
        )
        async with open_stream(server.url, "hello", origin=server.url):
            pass
        with serve_in_thread(runs["hello"], key=KEY, max_sessions=2) as url:
            for credentials in (
                {},
                {"additional_headers": {"authorization": "Bearer wrong"}},
                {"subprotocols": ["ohlol.key.!"]},
            ):
                assert "a key is needed" in await refused(url, "hello", 401, **credentials)
            async with open_stream(url, "hello", subprotocols=["ohlol", encode_key_protocol(KEY)]) as socket:
                assert socket.subprotocol == "ohlol"
                async with open_stream(url, "hello", additional_headers={"authorization": f"Bearer {KEY}"}):
                    credentials = {"additional_headers": {"authorization": f"Bearer {KEY}"}}
                    assert "2 streams are active, at most 2" in await refused(url, "hello", 429, **credentials)

    run_in_thread(run())


def test_idle_session_is_closed_with_its_token(runs: dict[str, Path]) -> None:
    with serve_in_thread(runs["hello"], idle=0.5) as url:

        async def work(socket: ClientConnection, greeting: dict[str, Any]) -> tuple[str, str]:
            await exchange(socket, read="he")
            goodbye = json.loads(await socket.recv())
            assert goodbye["closing"] == "no message for 0.5 s"
            assert goodbye["read"] == 2
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4008
            return greeting["session"], goodbye["token"]

        session, token = run_session(url, "hello", work)

        async def again(socket: ClientConnection, _: dict[str, Any]) -> None:
            answer = await exchange(socket, resume=token, read="llo")
            assert answer["session"] == session
            assert answer["read"] == 5
            assert [step["label"] for step in answer["steps"]] == list("lol")

        run_session(url, "hello", again)


@pytest.mark.slow
def test_tokens_outlive_a_killed_and_a_stopped_server(runs: dict[str, Path]) -> None:
    environment = {"OHLOL_API_KEY": KEY}
    options: Any = {"additional_headers": {"authorization": f"Bearer {KEY}"}}
    arguments = [f"hello={runs['hello']}", f"other={runs['names']}"]
    with ServerProcess(arguments, environment=environment) as first:

        async def read(socket: ClientConnection, _: dict[str, Any]) -> str:
            token = (await exchange(socket, read="he", token=True))["token"]
            first.kill()
            with pytest.raises(ConnectionClosed):
                await socket.recv()
            return token

        token = run_session(first.url, "hello", read, **options)
    with ServerProcess(arguments, environment=environment, port=first.port) as second:

        async def resume(socket: ClientConnection, _: dict[str, Any]) -> str:
            answer = await exchange(socket, resume=token, read="ll")
            assert [step["label"] for step in answer["steps"]] == list("lo")
            second.process.terminate()
            goodbye = json.loads(await socket.recv())
            assert goodbye["closing"] == "the server stops"
            return goodbye["token"]

        later = run_session(second.url, "hello", resume, **options)
    second.assert_no_errors()
    with ServerProcess(arguments, environment=environment) as third:

        async def end(socket: ClientConnection, _: dict[str, Any]) -> None:
            answer = await exchange(socket, resume=later, read="o")
            assert (answer["read"], answer["steps"][0]["label"]) == (5, "l")

        async def other(socket: ClientConnection, _: dict[str, Any]) -> None:
            assert "belongs to another model" in (await exchange(socket, resume=later))["error"]

        run_session(third.url, "hello", end, **options)
        run_session(third.url, "other", other, **options)
    with ServerProcess(arguments, environment={"OHLOL_API_KEY": KEY + "-new"}) as other_server:

        async def refused(socket: ClientConnection, _: dict[str, Any]) -> None:
            assert "not a token of this server" in (await exchange(socket, resume=later))["error"]

        run_session(other_server.url, "hello", refused, additional_headers={"authorization": f"Bearer {KEY}-new"})


def test_sessions_of_clients_that_left_end(server: ServerProcess) -> None:
    async def run() -> None:
        for _ in range(30):
            socket = await open_stream(server.url, "hello")
            await socket.recv()
            await socket.send(json.dumps({"read": "hello" * 100}))
            socket.transport.abort()
        with server.client() as client:
            for _ in range(200):
                if "ohlol_sessions 0.0" in client.get("/metrics").text:
                    return
                await asyncio.sleep(0.05)
        raise AssertionError("sessions are still open")

    run_in_thread(run())


@pytest.mark.slow
def test_text_that_is_not_utf8_is_one_warning(runs: dict[str, Path]) -> None:
    with ServerProcess([str(runs["hello"])]) as server:

        async def work(socket: ClientConnection, _: dict[str, Any]) -> None:
            await socket.send(b"\xff", text=True)
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1007

        run_session(server.url, "hello", work)
    server.assert_no_errors()
    assert server.err.count("\n") == 1
    assert "UTF-8" in server.err


def test_tokens_are_bound_to_session_state_and_key() -> None:
    tokens = Tokens("a key")
    token = tokens.seal(b"s" * 16, b"state")
    assert tokens.open(token) == (b"s" * 16, b"state")
    others = [Tokens("another").seal(b"s" * 16, b"state"), Tokens(None).seal(b"s" * 16, b"state")]
    changed = [token[:i] + ("A" if token[i] != "A" else "B") + token[i + 1 :] for i in range(len(token) - 2)]
    for invalid in ("", "é", "====", token[:-4], token + "AAAA", *others, *changed):
        with pytest.raises(InputError, match="not a token of this server"):
            tokens.open(invalid)
