"""`ohlol.nn.benchmark` over cells that are modules."""

import pytest
import torch

from ohlol import nn
from ohlol.cells import CELLS, CellSpec
from ohlol.nn import benchmark
from ohlol.utils.errors import InputError

SIZE = benchmark.Size(3, 2, 4, 5)


class Leaky(torch.nn.Module):
    """h' = 0.9 h + 0.1 tanh(W x + U h)."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.ih, self.hh = torch.nn.Linear(input_size, hidden_size), torch.nn.Linear(hidden_size, hidden_size)

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        """One step."""
        return 0.9 * h + 0.1 * torch.tanh(self.ih(x) + self.hh(h))


class Sorting(Leaky):
    """A cell that has no kernel, and that TorchScript refuses."""

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        """One step."""
        return {"next": super().forward(x, h).sort(dim=1).values}["next"]


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    members = {cell.__name__: CellSpec(name=cell.__name__, module=cell) for cell in (Leaky, Sorting)}
    monkeypatch.setattr(CELLS, "_members", {**CELLS, **members})


def test_a_cell_is_compared_with_its_loops() -> None:
    infer, train = benchmark.run(["Leaky"], [SIZE], seconds=0.0)
    for row, grad in ((infer, False), (train, True)):
        assert (row.cell, row.size, row.grad, row.matmul_share) == ("Leaky", SIZE, grad, None)
        assert set(row.times) == {"loop", "TorchScript"}
        assert row.times[row.compared_with] == row.torch == min(row.times.values())
        assert row.backend.startswith("kernel")
        assert row.turns >= benchmark.MIN_TURNS
        assert row.recording > 0
    assert benchmark.group_cells([infer, train]) == []
    assert benchmark.group_cells([train, infer, train]) == [[train, train]]
    assert benchmark.geometric_mean([train, train]) == pytest.approx(train.ratio)


def test_a_cell_without_kernel_or_script_is_measured() -> None:
    [row] = benchmark.run(["Sorting"], [SIZE], [True], torch.float64, seconds=0.0)
    assert row.compared_with == "loop"
    assert row.backend.startswith("torch: ")


@pytest.mark.parametrize("grad", [False, True])
def test_nothing_is_measured_where_results_differ(monkeypatch: pytest.MonkeyPatch, grad: bool) -> None:
    run = nn.Recurrent.forward

    def wrong(self: nn.Recurrent, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        out, final = run(self, x)
        return out, final + 0.01

    monkeypatch.setattr(nn.Recurrent, "forward", wrong)
    with pytest.raises(benchmark.ParityError, match=r"Leaky .* off by"):
        benchmark.run(["Leaky"], [SIZE], [grad], seconds=0.0)


def test_an_unknown_cell_is_refused() -> None:
    with pytest.raises(InputError, match="`cell` is 'mamba'"):
        benchmark.run(["mamba"], [SIZE], seconds=0.0)
