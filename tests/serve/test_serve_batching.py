"""Batches from concurrent requests: their size, their wait, a full queue, and errors."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import pytest
from serving import run_in_thread

from ohlol.serve.batching import Batcher, BusyError, ConcurrencyLimit
from ohlol.utils.errors import InputError


def negate(items: Sequence[int]) -> list[int]:
    return [-n for n in items]


def make_batcher(compute: Any = negate, **options: Any) -> Batcher[int, int]:
    defaults: dict[str, Any] = {"size": 4, "weight": 100, "wait": 0.05, "queue": 20, "timeout": 60.0}
    return Batcher(compute, **(defaults | options))


def test_batches_have_bounded_size_and_weight() -> None:
    sizes: list[int] = []

    def compute(items: list[int]) -> list[int]:
        sizes.append(len(items))
        return negate(items)

    async def submit() -> None:
        batcher = make_batcher(compute)
        assert await asyncio.gather(*(batcher.submit([n], [1]) for n in range(10))) == [[-n] for n in range(10)]
        assert sizes == [4, 4, 2]
        sizes.clear()
        assert await batcher.submit([1, 2, 3, 4], [60, 60, 10, 200]) == [-1, -2, -3, -4]
        assert sizes == [1, 2, 1]
        await batcher.close()

    run_in_thread(submit())


def test_first_item_waits_while_others_come_and_no_longer() -> None:
    async def submit() -> None:
        sizes: list[int] = []
        batcher = make_batcher(wait=4.0, on_batch=lambda size, _: sizes.append(size))
        start, submissions = time.monotonic(), []
        for _ in range(3):
            submissions.append(asyncio.create_task(batcher.submit([1], [1])))
            await asyncio.sleep(0.05)
        await asyncio.gather(*submissions)
        assert sizes == [3]
        assert time.monotonic() - start >= 1.0  # a quarter of the longest wait after the last
        await batcher.close()
        patient = make_batcher(wait=3600.0, timeout=60.0)
        assert await patient.submit(range(4), [1] * 4) == [0, -1, -2, -3]  # a full batch does not wait
        await patient.close()

    run_in_thread(submit())


def test_full_queue_refuses_all_items_or_none_and_an_error_concerns_one_item() -> None:
    def compute(items: list[int]) -> list[int | Exception]:
        return [InputError(str(n)) if n % 3 == 0 else n for n in items]

    async def submit() -> None:
        batcher = make_batcher(compute, queue=3)
        first = asyncio.create_task(batcher.submit([1, 2], [1, 1]))
        await asyncio.sleep(0)
        with pytest.raises(BusyError, match="2 sequences wait, at most 3; try again in 1 s"):
            await batcher.submit([4, 5], [1, 1])
        invalid = asyncio.create_task(batcher.submit([3], [1]))
        assert await first == [1, 2]
        with pytest.raises(InputError, match="3"):
            await invalid
        await batcher.close()

    run_in_thread(submit())


def test_items_of_clients_that_left_or_timed_out_are_not_computed() -> None:
    computed: list[int] = []

    def compute(items: list[int]) -> list[int]:
        computed.extend(items)
        time.sleep(0.2)
        return items

    async def submit() -> None:
        batcher = make_batcher(compute, size=1, wait=0.0, timeout=0.1)
        first = asyncio.create_task(batcher.submit([1], [1]))
        await asyncio.sleep(0.05)
        second, third = (asyncio.create_task(batcher.submit([n], [1])) for n in (2, 3))
        await asyncio.sleep(0)
        third.cancel()
        for late in (first, second):
            with pytest.raises(BusyError, match="not computed within"):
                await late
        await batcher.close()
        assert computed == [1]
        assert batcher.waiting == 0

    run_in_thread(submit())


def test_exception_of_a_batch_does_not_affect_the_next() -> None:
    def compute(items: list[int]) -> list[int]:
        if 0 in items:
            raise ZeroDivisionError
        return items

    async def submit() -> None:
        batcher = make_batcher(compute, wait=0.0)
        with pytest.raises(ZeroDivisionError):
            await batcher.submit([0], [1])
        assert await batcher.submit([1], [1]) == [1]
        await batcher.close()

    run_in_thread(submit())


def test_closed_batcher_refuses() -> None:
    async def submit() -> None:
        batcher = make_batcher()
        await batcher.close()
        with pytest.raises(BusyError, match="this model stops; try again in 1 s"):
            await batcher.submit([1], [1])

    run_in_thread(submit())


def test_work_beyond_the_concurrency_limit_is_refused() -> None:
    limit = ConcurrencyLimit(1, "explanations")
    with limit, pytest.raises(BusyError, match="1 explanations are active, at most 1"), limit:
        pass
    with limit:
        assert limit.used == 1
