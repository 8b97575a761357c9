"""Small models that are trained once, and one server for all tests that do not change it."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from serving import ServerProcess, train_models

import ohlol
from ohlol.inference.trained_model import TrainedModel


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return train_models(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="session")
def models(runs: dict[str, Path]) -> dict[str, TrainedModel]:
    return {name: ohlol.load(run) for name, run in runs.items()}


@pytest.fixture(scope="session")
def server(runs: dict[str, Path]) -> Iterator[ServerProcess]:
    with ServerProcess([str(run) for run in runs.values()]) as process:
        yield process
    assert process.returncode in (0, -15), process.err
    process.assert_no_errors()


@pytest.fixture
def client(server: ServerProcess) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client
