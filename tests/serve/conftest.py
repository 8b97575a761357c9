"""Small models, trained once, and one server for all tests that change nothing in it."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from serving import Served, train_all

import ohlol
from ohlol.inference.trained_model import TrainedModel


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return train_all(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="session")
def models(runs: dict[str, Path]) -> dict[str, TrainedModel]:
    return {name: ohlol.load(run) for name, run in runs.items()}


@pytest.fixture(scope="session")
def server(runs: dict[str, Path]) -> Iterator[Served]:
    with Served([str(run) for run in runs.values()]) as served:
        yield served
    assert served.process.returncode in (0, -15), served.err
    assert "Traceback" not in served.err, served.err
    assert "ERROR" not in served.err, served.err


@pytest.fixture
def client(server: Served) -> Iterator[httpx.Client]:
    with server.client() as made:
        yield made
