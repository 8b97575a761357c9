"""The lines of a cell with their values: names, changes in place, loops, functions, branches, missing source."""

import linecache
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ohlol.explain.source_lines import SourceLine, record_lines


def lines_of(cell: torch.nn.Module, state: Any = None) -> tuple[Any, tuple[SourceLine, ...]]:
    state = torch.full((1, 2), 0.5, dtype=torch.float64) if state is None else state
    return record_lines(cell, torch.tensor([[1.0, -2.0]], dtype=torch.float64), state)


def shown(lines: tuple[SourceLine, ...]) -> list[tuple[int, str | None, dict[str, list[float]]]]:
    return [(line.depth, line.text, {k: v.tolist() for k, v in line.values.items()}) for line in lines]


def double(a: Tensor) -> Tensor:
    half = 0.5 * a
    return 4 * half


class Simple(torch.nn.Module):
    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        total = (
            x
            + h
        )  # fmt: skip
        parts = total.chunk(2, 1)
        total.add_(1)
        same = total
        return same + parts[0]


def test_each_line_has_what_it_assigns_and_changes() -> None:
    result, lines = lines_of(Simple())
    assert result.tolist() == [[5.0, 2.0]]
    assert shown(lines) == [
        (0, "total = (\n    x\n    + h\n)  # fmt: skip", {"total": [1.5, -1.5]}),
        (0, "parts = total.chunk(2, 1)", {"parts[0]": [1.5], "parts[1]": [-1.5]}),
        (0, "total.add_(1)", {"total": [2.5, -0.5], "parts[0]": [2.5], "parts[1]": [-0.5]}),
        (0, "same = total", {"same": [2.5, -0.5]}),
        (0, "return same + parts[0]", {"return": [5.0, 2.0]}),
    ]
    assert {line.file for line in lines} == {__file__}
    source = Path(__file__).read_text().splitlines()
    assert all(source[line.line - 1].strip() == str(line.text).split("\n")[0] for line in lines)


class Calls(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Simple()

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        h, c = state
        with torch.no_grad():
            h = double(h)
        for _ in range(2):
            c = c + 1
        ones = [3 * w for w in torch.ones(2, 2)]
        return self.inner(x, h), (h, c + ones[0])


def test_functions_loops_and_modules() -> None:
    row = torch.zeros(1, 2, dtype=torch.float64)
    _, lines = lines_of(Calls(), (row, row))
    assert shown(lines)[:11] == [
        (0, "h, c = state", {"h": [0.0, 0.0], "c": [0.0, 0.0]}),
        (0, "with torch.no_grad():", {}),
        (0, "h = double(h)", {"h": [0.0, 0.0]}),
        (1, "half = 0.5 * a", {"half": [0.0, 0.0]}),
        (1, "return 4 * half", {"return": [0.0, 0.0]}),
        (0, "for _ in range(2):", {}),
        (0, "c = c + 1", {"c": [1.0, 1.0]}),
        (0, "for _ in range(2):", {}),
        (0, "c = c + 1", {"c": [2.0, 2.0]}),
        (0, "for _ in range(2):", {}),
        (0, "ones = [3 * w for w in torch.ones(2, 2)]", {"ones[0]": [3.0, 3.0], "ones[1]": [3.0, 3.0]}),
    ]
    depth, text, values = shown(lines)[11]
    assert (depth, text) == (0, "return self.inner(x, h), (h, c + ones[0])")
    assert list(values) == ["return[0]", "return[1][0]", "return[1][1]"]
    assert [line.depth for line in lines[12:]] == [1] * 5


class ReturnsInside(torch.nn.Module):
    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        with torch.enable_grad():
            h = x + h
            return 2 * h


def test_a_return_within_a_block() -> None:
    assert shown(lines_of(ReturnsInside())[1]) == [
        (0, "with torch.enable_grad():", {}),
        (0, "h = x + h", {"h": [1.5, -1.5]}),
        (0, "return 2 * h", {"return": [3.0, -3.0]}),
    ]


class Matrices(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(2, 2, dtype=torch.float64))

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        W = self.weight.t()
        is_positive = x > 0
        blocks = h.view(1, 2, 1)
        return torch.where(is_positive, x @ W, blocks[..., 0])


def test_matrices_of_weights_are_left_out_and_other_tensors_become_numbers() -> None:
    assert [values for _, _, values in shown(lines_of(Matrices())[1])] == [
        {},
        {"is_positive": [1.0, 0.0]},
        {"blocks": [0.5, 0.5]},
        {"return": [-1.0, 0.5]},
    ]


def test_values_are_those_of_the_time_of_the_line() -> None:
    _, lines = lines_of(Simple())
    assert lines[0].values["total"].dtype == np.float64
    assert lines[0].values["total"].tolist() == [1.5, -1.5]  # before total.add_(1)


def test_a_cell_without_source() -> None:
    source = "class Typed(torch.nn.Module):\n    def forward(self, x, h):\n        h = x + h\n        return h\n"
    namespace: dict[str, Any] = {"torch": torch, "__name__": "typed"}
    exec(compile(source, "<stdin>", "exec"), namespace)
    _, lines = lines_of(namespace["Typed"]())
    assert [(line.text, line.line, line.file) for line in lines] == [(None, 3, "<stdin>"), (None, 4, "<stdin>")]
    assert [line.values["h" if k == 0 else "return"].tolist() for k, line in enumerate(lines)] == [[1.5, -1.5]] * 2
    linecache.cache["<stdin>"] = (len(source), None, source.splitlines(True), "<stdin>")
    try:
        assert [line.text for line in lines_of(namespace["Typed"]())[1]] == ["h = x + h", "return h"]
    finally:
        del linecache.cache["<stdin>"]


def test_cells_of_torch_have_no_lines() -> None:
    assert lines_of(torch.nn.GRUCell(2, 2).double())[1] == ()


def test_the_trace_function_is_restored() -> None:
    calls: list[str] = []

    def other(frame: Any, event: str, argument: Any) -> None:
        calls.append(frame.f_code.co_name)

    class Fails(torch.nn.Module):
        def forward(self, x: Tensor, h: Tensor) -> Tensor:
            raise ArithmeticError

    previous = sys.gettrace()
    sys.settrace(other)
    try:
        record_lines(Simple(), torch.ones(1, 2), torch.ones(1, 2))
        with pytest.raises(ArithmeticError):
            record_lines(Fails(), torch.ones(1, 2), torch.ones(1, 2))
        after = sys.gettrace()
    finally:
        sys.settrace(previous)
    assert after is other
    assert "forward" not in calls
