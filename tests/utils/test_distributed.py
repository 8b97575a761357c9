"""The operations of a run of one process; tests/distributed starts several."""

import numpy as np
import pytest
import torch

from ohlol.utils.devices import CPU
from ohlol.utils.distributed import SINGLE_PROCESS, Processes, join_processes, rank_seed


def test_collectives_of_one_process_return_their_input() -> None:
    processes = Processes()
    assert processes == SINGLE_PROCESS
    assert (processes.is_main, processes.share, processes.device) == (True, (0, 1), CPU)
    model = torch.nn.Linear(2, 2)
    assert processes.wrap_model(model) is model
    assert processes.sum_values([1.5, 2]) == [1.5, 2]
    values = np.array([1 << 60])
    assert processes.sum_array(values) is values
    tensor = torch.ones(3)
    (gathered,) = processes.gather(tensor)
    assert gathered is tensor
    assert processes.run_on_main(lambda: 3) == 3


def test_an_error_on_the_main_process_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        SINGLE_PROCESS.run_on_main(lambda: 1 / 0)


def test_only_rank_0_is_the_main_process() -> None:
    assert [Processes(rank, 3).is_main for rank in range(3)] == [True, False, False]
    assert Processes(2, 3).share == (2, 3)


def test_seeds_differ_between_processes_and_rank_0_has_that_of_the_run() -> None:
    seeds = [rank_seed(7, rank) for rank in range(100)]
    assert seeds[0] == 7
    assert len(set(seeds)) == 100
    assert all(0 <= seed < 1 << 63 for seed in [*seeds, rank_seed((1 << 63) - 1, 5)])


@pytest.mark.parametrize(("restarts", "restarted"), [(None, False), ("0", False), ("2", True)])
def test_join_processes_of_a_single_process(
    restarts: str | None, restarted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    if restarts is not None:
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", restarts)
    with join_processes() as processes:
        assert processes == Processes(restarted=restarted)
    assert not torch.distributed.is_initialized()
