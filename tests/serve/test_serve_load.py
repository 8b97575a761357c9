"""Many at once: 200 sessions and 50 clients, each answer held against the model, none wrong and none lost."""

import asyncio
import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest
from serving import Served
from serving import run as in_loop

import ohlol

SECONDS = float(os.environ.get("OHLOL_LOAD_SECONDS", "3"))
"""Of asking, after all are connected; the long form asks for a minute."""
SESSIONS, CLIENTS, SYMBOLS = 200, 50, 40


@pytest.fixture(scope="module")
def speed() -> ModuleType:
    """benchmarks/serve_speed.py, whose clients these are."""
    path = Path(__file__).parents[2] / "benchmarks/serve_speed.py"
    spec = importlib.util.spec_from_file_location("serve_speed", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_wrong_answer_and_no_lost_request(speed: ModuleType, tmp_path: Path) -> None:
    model = speed.model_of(tmp_path, 32, 2, both=False)
    wanted = speed.labels_of(model, speed.texts(100, SYMBOLS))
    with Served([f"model={model.run}"], ["--max-sessions", str(SESSIONS)]) as server:

        async def both() -> tuple[object, object]:
            return await asyncio.gather(
                speed.streaming(server.port, wanted, SESSIONS, SECONDS),
                speed.predicting(server.port, wanted, CLIENTS, SECONDS),
            )

        streams, clients = in_loop(both())
        with server.client() as client:
            counted = client.get("/metrics").text
    print(f"\n{SESSIONS} sessions: {streams}\n{CLIENTS} clients: {clients}")
    for seen in (streams, clients):
        assert (seen.wrong, seen.lost) == (0, 0)
    assert len(streams.seconds) >= SESSIONS  # each had its turn
    assert len(clients.seconds) >= CLIENTS
    line = next(row for row in counted.splitlines() if row.startswith("ohlol_stream_steps_total{"))
    assert float(line.split()[-1]) == len(streams.seconds)
    assert server.process.returncode == -15
    assert "Traceback" not in server.err


def test_a_wrong_answer_is_seen(speed: ModuleType, tmp_path: Path) -> None:
    """The comparison itself, on answers that are wrong."""
    model = speed.model_of(tmp_path, 8, 1, both=False)
    right = speed.labels_of(model, ["abc"])["abc"]
    assert speed.same(right, right)
    labels, chances = right
    assert not speed.same((labels[:-1], chances[:-1]), right)
    assert not speed.same((labels, [chances[0] + 0.01, *chances[1:]]), right)
    sure = (["A"], [0.9])
    assert not speed.same((["B"], [0.9]), sure)
    assert isinstance(model, ohlol.TrainedModel)
