"""The variables of torchrun, and their defaults in a process that was started without it."""

import subprocess
import sys

import pytest

from ohlol.utils.errors import InputError
from ohlol.utils.torchrun import Launch, read_launch


def test_a_process_without_torchrun() -> None:
    launch = read_launch({})
    assert launch == Launch()
    assert (launch.rank, launch.world_size, launch.restarts, launch.is_main) == (0, 1, 0, True)


def test_every_variable_is_read() -> None:
    variables = {
        "RANK": "5",
        "WORLD_SIZE": "8",
        "LOCAL_RANK": "1",
        "LOCAL_WORLD_SIZE": "4",
        "TORCHELASTIC_RESTART_COUNT": "2",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    launch = read_launch(variables)
    assert launch == Launch(5, 8, 1, 4, 2, True)
    assert not launch.is_main


def test_the_environment_is_read_at_the_time_of_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert read_launch().world_size == 3


@pytest.mark.parametrize("value", ["", "two", "-1", "9" * 5000])
def test_a_value_that_is_not_a_number_is_refused(value: str) -> None:
    with pytest.raises(InputError, match=r"the environment variable WORLD_SIZE is '.*'; torchrun sets a number"):
        read_launch({"WORLD_SIZE": value})


def test_torch_is_not_imported() -> None:
    code = "import sys, ohlol.utils.torchrun; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
