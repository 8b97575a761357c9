"""WebSocket streams: what is read in pieces gets the answers of the whole, and a token outlives the server."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from serving import KEY, SECONDS, Served, in_protocol
from serving import run as in_loop
from test_serve_unit import short_lived
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from ohlol.inference.trained_model import TrainedModel

CLOSE = 1e-5


def at(url: str, name: str, **options: Any) -> connect:
    """A connection that reads no proxy from the environment."""
    return connect(
        f"{url.replace('http', 'ws', 1)}/v1/models/{name}/stream", proxy=None, open_timeout=SECONDS, **options
    )


async def asked(socket: ClientConnection, **message: Any) -> dict[str, Any]:
    await socket.send(json.dumps(message))
    return json.loads(await socket.recv())


def talk(
    url: str, name: str, work: Callable[[ClientConnection, dict[str, Any]], Awaitable[Any]], **options: Any
) -> Any:
    """Open a session, read its greeting, and do something with it."""

    async def run() -> Any:
        async with at(url, name, **options) as socket:
            return await work(socket, json.loads(await socket.recv()))

    return in_loop(run())


@pytest.mark.parametrize("cuts", [[5], [1, 1, 1, 1, 1], [2, 3], [4, 1]])
def test_pieces_get_the_labels_of_the_whole(server: Served, models: dict[str, TrainedModel], cuts: list[int]) -> None:
    wanted = models["hello"].predict("hello", n_best=3)

    async def work(socket: ClientConnection, greeting: dict[str, Any]) -> None:
        assert greeting == {
            "session": greeting["session"], "model": "hello", "identity": models["hello"].identity,
        }  # fmt: skip
        assert len(bytes.fromhex(greeting["session"])) == 16
        steps, begin = [], 0
        for cut in cuts:
            answer = await asked(socket, read="hello"[begin : begin + cut], n_best=3)
            begin += cut
            assert answer["read"] == begin
            steps += answer["steps"]
        assert [step["label"] for step in steps] == wanted.labels
        assert [step["probability"] for step in steps] == pytest.approx(wanted.probability, abs=CLOSE)
        for step, best in zip(steps, wanted.best, strict=True):
            assert [label for label, _ in step["best"]] == [label for label, _ in best]
        again = await asked(socket, reset=True, read=list("hello"))
        assert [step["label"] for step in again["steps"]] == wanted.labels
        assert "best" not in again["steps"][0]
        assert await asked(socket, reset=True) == {"read": 0}

    talk(server.url, "hello", work)


def test_a_series_and_a_class_so_far(server: Served, models: dict[str, TrainedModel]) -> None:
    async def series(socket: ClientConnection, _: dict[str, Any]) -> None:
        rows = [[50.0 + t, 1.0] for t in range(12)]
        stream = models["sine"].stream()
        answer = await asked(socket, read=rows)
        for step, wanted in zip(answer["steps"], stream.read(rows), strict=True):
            assert step["row"] == pytest.approx(wanted.row.tolist(), rel=1e-5)

    async def classes(socket: ClientConnection, _: dict[str, Any]) -> None:
        answer = await asked(socket, read="anna")
        for end in range(1, 5):
            assert answer["steps"][end - 1]["label"] == models["names"].predict("anna"[:end]).labels[0]

    talk(server.url, "sine", series)
    talk(server.url, "names", classes)


MISTAKES: list[tuple[Any, str]] = [
    ("{", "Invalid JSON"),
    ("[]", "Input should be an object"),
    ('{"reed": "h"}', "reed: Extra inputs are not permitted"),
    ('{"read": "hexo"}', "symbol 'x' was not seen in training"),
    ('{"read": ["h", "he"]}', "a step reads one symbol"),
    ('{"read": [[1.0]]}', "a step reads one symbol"),
    ('{"read": [[NaN]]}', "read"),
    ('{"n_best": 0}', "n_best: Input should be greater"),
    ('{"resume": ""}', "resume: no token of this server"),
    ('{"resume": "é"}', "resume: no token of this server"),
    ('{"read": "' + "h" * 10_001 + '"}', "read: 10,001 symbols; at most 10,000"),
    ("[" * 100_000, ""),
    ('{"read": "\\ud800"}', ""),
    (b"\xff", ""),
    (b"{}", None),
]


@pytest.mark.parametrize(("text", "line"), MISTAKES, ids=range(len(MISTAKES)))
def test_a_mistake_moves_nothing(server: Served, text: Any, line: str | None) -> None:
    async def work(socket: ClientConnection, _: dict[str, Any]) -> None:
        before = (await asked(socket, read="he", token=True))["token"]
        await socket.send(text)
        answer = json.loads(await socket.recv())
        if line is None:
            assert answer == {"read": 2}
        else:
            assert line in answer["error"]
            assert len(answer["error"]) < 400
        assert (await asked(socket, token=True)) == {"read": 2, "token": before}
        assert [s["label"] for s in (await asked(socket, read="llo"))["steps"]] == list("lol")

    talk(server.url, "hello", work)


def test_a_message_too_large_ends_its_session_alone(server: Served) -> None:
    async def work(socket: ClientConnection, _: dict[str, Any]) -> None:
        await socket.send("x" * (1 << 19))
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009

    talk(server.url, "hello", work)


def test_who_may_not_open_one(server: Served, runs: dict[str, Path]) -> None:
    async def refused(url: str, name: str, status: int, **options: Any) -> str:
        with pytest.raises(InvalidStatus) as found:
            async with at(url, name, **options):
                pass
        assert found.value.response.status_code == status
        return json.loads(found.value.response.body or b"{}")["detail"]

    async def run() -> None:
        assert "there is no model 'nobody'" in await refused(server.url, "nobody", 404)
        assert "from both its ends and has no stream" in await refused(server.url, "upper", 409)
        assert "may not ask here" in await refused(server.url, "hello", 403, origin="https://elsewhere.example")
        async with at(server.url, "hello", origin=server.url):
            pass
        with short_lived(runs["hello"], key=KEY, sessions=2) as url:
            for wrong in (
                {},
                {"additional_headers": {"authorization": "Bearer wrong"}},
                {"subprotocols": ["ohlol.key.!"]},
            ):
                assert "a key is needed" in await refused(url, "hello", 401, **wrong)
            async with at(url, "hello", subprotocols=["ohlol", in_protocol(KEY)]) as socket:
                assert socket.subprotocol == "ohlol"
                async with at(url, "hello", additional_headers={"authorization": f"Bearer {KEY}"}):
                    given = {"additional_headers": {"authorization": f"Bearer {KEY}"}}
                    assert "2 streams at work, at most 2" in await refused(url, "hello", 429, **given)

    in_loop(run())


def test_a_silent_session_is_closed_with_its_token(runs: dict[str, Path]) -> None:
    with short_lived(runs["hello"], idle=0.5) as url:

        async def work(socket: ClientConnection, greeting: dict[str, Any]) -> tuple[str, str]:
            await asked(socket, read="he")
            goodbye = json.loads(await socket.recv())
            assert goodbye["closing"] == "no message for 0.5 s"
            assert goodbye["read"] == 2
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4008
            return greeting["session"], goodbye["token"]

        session, token = talk(url, "hello", work)

        async def again(socket: ClientConnection, _: dict[str, Any]) -> None:
            answer = await asked(socket, resume=token, read="llo")
            assert answer["session"] == session
            assert answer["read"] == 5
            assert [step["label"] for step in answer["steps"]] == list("lol")

        talk(url, "hello", again)


def test_a_killed_server_and_a_stopped_one_go_on_from_tokens(runs: dict[str, Path]) -> None:
    given = {"OHLOL_API_KEY": KEY}
    options: Any = {"additional_headers": {"authorization": f"Bearer {KEY}"}}
    arguments = [f"hello={runs['hello']}", f"other={runs['names']}"]
    with Served(arguments, environment=given) as first:

        async def read(socket: ClientConnection, _: dict[str, Any]) -> str:
            token = (await asked(socket, read="he", token=True))["token"]
            first.kill()
            with pytest.raises(ConnectionClosed):
                await socket.recv()
            return token

        token = talk(first.url, "hello", read, **options)
    with Served(arguments, environment=given, port=first.port) as second:

        async def go_on(socket: ClientConnection, _: dict[str, Any]) -> str:
            answer = await asked(socket, resume=token, read="ll")
            assert [step["label"] for step in answer["steps"]] == list("lo")
            second.process.terminate()
            goodbye = json.loads(await socket.recv())
            assert goodbye["closing"] == "the server stops"
            return goodbye["token"]

        later = talk(second.url, "hello", go_on, **options)
    assert "Traceback" not in second.err
    with Served(arguments, environment=given) as third:

        async def end(socket: ClientConnection, _: dict[str, Any]) -> None:
            answer = await asked(socket, resume=later, read="o")
            assert (answer["read"], answer["steps"][0]["label"]) == (5, "l")

        async def other(socket: ClientConnection, _: dict[str, Any]) -> None:
            assert "belongs to another model" in (await asked(socket, resume=later))["error"]

        talk(third.url, "hello", end, **options)
        talk(third.url, "other", other, **options)
    with Served(arguments, environment={"OHLOL_API_KEY": KEY + "-new"}) as stranger:

        async def refused(socket: ClientConnection, _: dict[str, Any]) -> None:
            assert "no token of this server" in (await asked(socket, resume=later))["error"]

        talk(stranger.url, "hello", refused, additional_headers={"authorization": f"Bearer {KEY}-new"})


def test_clients_that_are_gone_leave_nothing_behind(server: Served) -> None:
    async def run() -> None:
        for _ in range(30):
            socket = await at(server.url, "hello")
            await socket.recv()
            await socket.send(json.dumps({"read": "hello" * 100}))
            socket.transport.abort()
        with server.client() as client:
            for _ in range(200):
                if "ohlol_sessions 0.0" in client.get("/metrics").text:
                    return
                await asyncio.sleep(0.05)
        raise AssertionError("sessions stay")

    in_loop(run())
