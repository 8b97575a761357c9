"""200 sessions and 50 clients at once: every response is compared with the model, and none is lost."""

import asyncio
import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest
from serving import ServerProcess, run_in_thread

import ohlol

pytestmark = pytest.mark.slow

SECONDS = float(os.environ.get("OHLOL_LOAD_SECONDS", "3"))
"""Of load, after all are connected; the long form takes a minute."""
SESSIONS, CLIENTS, SYMBOLS = 200, 50, 40


@pytest.fixture(scope="module")
def speed() -> ModuleType:
    """benchmarks/serve_speed.py, which has the clients."""
    path = Path(__file__).parents[2] / "benchmarks/serve_speed.py"
    spec = importlib.util.spec_from_file_location("serve_speed", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_response_is_wrong_or_lost(speed: ModuleType, tmp_path: Path) -> None:
    model = speed.train_model(tmp_path, 32, 2, both=False)
    expected = speed.predict_labels(model, speed.make_texts(100, SYMBOLS))
    with ServerProcess([f"model={model.run}"], ["--max-sessions", str(SESSIONS)]) as server:

        async def both() -> tuple[object, object]:
            return await asyncio.gather(
                speed.run_sessions(server.port, expected, SESSIONS, SECONDS),
                speed.run_clients(server.port, expected, CLIENTS, SECONDS),
            )

        streams, clients = run_in_thread(both())
        with server.client() as client:
            metrics = client.get("/metrics").text
    print(f"\n{SESSIONS} sessions: {streams}\n{CLIENTS} clients: {clients}")
    for result in (streams, clients):
        assert (result.wrong, result.lost) == (0, 0)
    assert len(streams.seconds) >= SESSIONS
    assert len(clients.seconds) >= CLIENTS
    line = next(row for row in metrics.splitlines() if row.startswith("ohlol_stream_steps_total{"))
    assert float(line.split()[-1]) == len(streams.seconds)
    assert server.process.returncode == -15
    server.assert_no_errors()


def test_comparison_detects_wrong_responses(speed: ModuleType, tmp_path: Path) -> None:
    model = speed.train_model(tmp_path, 8, 1, both=False)
    correct = speed.predict_labels(model, ["abc"])["abc"]
    assert speed.is_close(correct, correct)
    labels, probabilities = correct
    assert not speed.is_close((labels[:-1], probabilities[:-1]), correct)
    assert not speed.is_close((labels, [probabilities[0] + 0.01, *probabilities[1:]]), correct)
    certain = (["A"], [0.9])
    assert not speed.is_close((["B"], [0.9]), certain)
    assert isinstance(model, ohlol.TrainedModel)
