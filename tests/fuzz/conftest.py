"""The number of examples, and the directory that all tests share."""

import os

import pytest
from fuzz.workspace import Workspace
from hypothesis import HealthCheck, settings

EXAMPLES = int(os.environ.get("OHLOL_FUZZ", "0"))
"""Examples of each test in the long form, `make fuzz`, which draws others in each run."""

settings.register_profile(
    "fuzz",
    deadline=None,
    max_examples=EXAMPLES or 40,
    derandomize=not EXAMPLES,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace.create(tmp_path_factory.mktemp("fuzz"))
