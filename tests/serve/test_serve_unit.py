"""Rooms of the server by themselves: batches, tokens, limits; and a server in this process, with limits of its own."""

import asyncio
import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import run as in_loop
from untrained import untrained

import ohlol
from ohlol.inference.prediction import Prediction
from ohlol.serve import models
from ohlol.serve.access import Access
from ohlol.serve.batching import Batcher, Busy, Gate
from ohlol.serve.limits import Limits
from ohlol.serve.metrics import Metrics
from ohlol.serve.models import Models, predicted, symbols_of
from ohlol.serve.run import _listen  # pyright: ignore[reportPrivateUsage]
from ohlol.serve.server import Server
from ohlol.serve.service import Service
from ohlol.serve.sessions import Tokens
from ohlol.serve.streams import work_of
from ohlol.utils.errors import InputError


@contextmanager
def short_lived(run: Path, *, key: str | None = None, **limits: Any) -> Iterator[str]:
    """A server in a thread of this process; its address."""
    chosen, metrics = Limits(**limits), Metrics()
    service = Service(Models({run.name: run}, chosen, metrics.batch), Access(key), chosen, metrics)
    with _listen("127.0.0.1", 0) as listening:
        started = threading.Event()
        server = Server(service, listening, on_start=started.set)
        thread = threading.Thread(target=server.run)
        thread.start()
        assert started.wait(60)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.stop()
            thread.join()


def batcher(work: Any = None, **settings: Any) -> Batcher[int, int]:
    given: dict[str, Any] = {"size": 4, "weight": 100, "wait": 0.05, "queue": 20, "patience": 60.0} | settings
    return Batcher(work or (lambda asked: [-n for n in asked]), **given)


def test_requests_become_batches_of_bounded_size_and_weight() -> None:
    sizes: list[int] = []

    def work(asked: list[int]) -> list[int]:
        sizes.append(len(asked))
        return [-n for n in asked]

    async def ask() -> None:
        made = batcher(work)
        assert await asyncio.gather(*(made.submit([n], [1]) for n in range(10))) == [[-n] for n in range(10)]
        assert sizes == [4, 4, 2]
        sizes.clear()
        assert await made.submit([1, 2, 3, 4], [60, 60, 10, 200]) == [-1, -2, -3, -4]
        assert sizes == [1, 2, 1]
        await made.close()

    in_loop(ask())


def test_the_first_waits_while_others_come_and_only_so_long() -> None:
    async def ask() -> None:
        sizes: list[int] = []
        made = batcher(lambda asked: asked, wait=4.0, watch=lambda size, _: sizes.append(size))
        began, coming = time.monotonic(), []
        for _ in range(3):
            coming.append(asyncio.create_task(made.submit([1], [1])))
            await asyncio.sleep(0.05)
        await asyncio.gather(*coming)
        assert sizes == [3]
        assert time.monotonic() - began >= 1.0  # a quarter of the longest wait after the last
        await made.close()
        patient = batcher(lambda asked: asked, wait=3600.0, patience=60.0)
        assert await patient.submit(range(4), [1] * 4) == [0, 1, 2, 3]  # a full batch does not wait
        await patient.close()

    in_loop(ask())


def test_a_full_queue_refuses_all_or_nothing_and_one_mistake_is_ones_own() -> None:
    def work(asked: list[int]) -> list[int | Exception]:
        return [InputError(str(n)) if n % 3 == 0 else n for n in asked]

    async def ask() -> None:
        made = batcher(work, queue=3)
        first = asyncio.create_task(made.submit([1, 2], [1, 1]))
        await asyncio.sleep(0)
        with pytest.raises(Busy, match="2 sequences wait, at most 3; try again in 1 s"):
            await made.submit([4, 5], [1, 1])
        wrong = asyncio.create_task(made.submit([3], [1]))
        assert await first == [1, 2]
        with pytest.raises(InputError, match="3"):
            await wrong
        await made.close()

    in_loop(ask())


def test_who_has_left_is_not_worked_for_and_who_waits_too_long_is_told() -> None:
    done: list[int] = []

    def work(asked: list[int]) -> list[int]:
        done.extend(asked)
        time.sleep(0.2)
        return asked

    async def ask() -> None:
        made = batcher(work, size=1, wait=0.0, patience=0.1)
        first = asyncio.create_task(made.submit([1], [1]))
        await asyncio.sleep(0.05)
        second, third = (asyncio.create_task(made.submit([n], [1])) for n in (2, 3))
        await asyncio.sleep(0)
        third.cancel()
        for late in (first, second):
            with pytest.raises(Busy, match="not worked off within"):
                await late
        await made.close()
        assert done == [1]
        assert made.waiting == 0

    in_loop(ask())


def test_a_bug_in_the_work_is_an_exception_and_the_next_batch_goes_on() -> None:
    def work(asked: list[int]) -> list[int]:
        if 0 in asked:
            raise ZeroDivisionError
        return asked

    async def ask() -> None:
        made = batcher(work, wait=0.0)
        with pytest.raises(ZeroDivisionError):
            await made.submit([0], [1])
        assert await made.submit([1], [1]) == [1]
        await made.close()

    in_loop(ask())


def test_who_comes_after_the_end_is_told() -> None:
    async def ask() -> None:
        made = batcher()
        await made.close()
        with pytest.raises(Busy, match="this model stops; try again in 1 s"):
            await made.submit([1], [1])

    in_loop(ask())


def test_each_sequence_of_a_batch_gets_as_many_labels_as_it_asked_for() -> None:
    """One that asks for all must not have all worked out for the others."""
    model = untrained("label")
    asked = [(list("abc"), 1), (list("de"), 100), (list("fgab"), 3)]
    found = predicted(model, asked)
    for (text, n_best), one in zip(asked, found, strict=True):
        assert isinstance(one, Prediction)
        alone = model.predict(text, n_best=n_best)
        assert [[label for label, _ in best] for best in one.best] == [[x for x, _ in best] for best in alone.best]
        assert one.probability == pytest.approx(alone.probability, abs=1e-5)


def test_how_much_a_request_is() -> None:
    """Letters count where words are spelled, and labels where many are asked for: a word can be a megabyte long."""
    spelled, plain, limits = untrained("words", char_rnn_size=4), untrained("words"), Limits(work=100)
    K = len(plain.codec.labels or ())
    assert work_of(spelled, ["the", "cats"], 1) == 7
    assert work_of(plain, ["the", "cats"], 1) == 2
    assert work_of(plain, ["the", "cats"], 100) == 2 * K
    assert symbols_of(plain, ["a" * 101], limits) == ["a" * 101]
    assert symbols_of(spelled, ["a" * 100], limits) == ["a" * 100]
    for text in (["a" * 101], "a" * 101, ["ab"] * 51):
        with pytest.raises(InputError, match=r"its words have 10[12] letters; at most 100 are read"):
            symbols_of(spelled, text, limits)


def test_swapping_all_the_time_drops_nothing(runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A request finds its model and hands it what it asks in one go: no swap comes between."""
    two = itertools.cycle([ohlol.load(runs["hello"]), untrained("label", num_layers=1, hidden_size=4)])
    with short_lived(runs["hello"]) as url:
        monkeypatch.setattr(models, "loaded", lambda run: next(two))
        over, seen = threading.Event(), set[int]()

        def ask() -> None:
            with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
                while not over.is_set():
                    seen.add(client.post("/v1/models/hello/predict", json={"inputs": "e"}).status_code)

        with ThreadPoolExecutor(8) as threads, httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
            asking = [threads.submit(ask) for _ in range(8)]
            swaps = sum(client.post("/v1/reload").json()[0]["changed"] for _ in range(60))
            over.set()
            for one in asking:
                one.result()
    assert swaps >= 59  # the first reads what is there
    assert seen == {200}


def test_a_gate() -> None:
    gate = Gate(1, "explanations")
    with gate, pytest.raises(Busy, match="1 explanations at work, at most 1"), gate:
        pass
    with gate:
        assert gate.inside == 1


def test_tokens_are_bound_to_session_state_and_key() -> None:
    tokens = Tokens("a key")
    token = tokens.made(b"s" * 16, b"state")
    assert tokens.opened(token) == (b"s" * 16, b"state")
    others = [Tokens("another").made(b"s" * 16, b"state"), Tokens(None).made(b"s" * 16, b"state")]
    changed = [token[:i] + ("A" if token[i] != "A" else "B") + token[i + 1 :] for i in range(len(token) - 2)]
    for bad in ("", "é", "====", token[:-4], token + "AAAA", *others, *changed):
        with pytest.raises(InputError, match="no token of this server"):
            tokens.opened(bad)
