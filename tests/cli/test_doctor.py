"""What `ohlol doctor` says of the processors."""

from pathlib import Path

import pytest

from ohlol.cli.doctor import describe_processors
from ohlol.utils import environment
from ohlol.utils.environment import Machine


@pytest.mark.parametrize(
    ("quota", "load", "line"),
    [
        (None, 0.4, "AVX2, 4 cores, 2 threads in use, load 0.4"),
        (None, None, "AVX2, 4 cores, 2 threads in use"),
        (None, 4.2, "AVX2, 4 cores, 2 threads in use, load 4.2: other processes use the cores"),
        (1.5, 0.0, "AVX2, 4 cores, 2 threads in use, quota of 1.5 cores, load 0.0"),
        (1.0, 1.0, "AVX2, 4 cores, 2 threads in use, quota of 1 cores, load 1.0: other processes use the cores"),
    ],
)
def test_the_line_of_processors(tmp_path: Path, quota: float | None, load: float | None, line: str) -> None:
    here = environment.describe_machine(tmp_path, kernels="avx2").to_json()
    machine = Machine(**{**here, "processor": "AVX2", "cores": 4, "quota": quota, "load": load, "threads": 2})
    assert describe_processors(machine) == line
