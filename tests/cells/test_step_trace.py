"""Recordings of a step: the batch in shapes and arguments, and what cannot be recorded."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ohlol.cells.step_trace import BATCH, StepTrace, UnsupportedStepError, run_operations, trace_step

HIDDEN = torch.ones(4, requires_grad=True)
WEIGHTS = {"W": torch.randn(4, 4), "b": torch.randn(4)}


def record(step: Callable[[Any, Tensor, Tensor], Any], **weights: Tensor) -> StepTrace:
    return trace_step(lambda w, x, states: step(w, x, states[0]), {**WEIGHTS, **weights}, 3, [4], torch.float32)


def test_the_batch_is_found_in_shapes_and_arguments() -> None:
    trace = record(lambda w, x, h: h @ w["W"] + torch.zeros(len(x), 4))
    assert trace.weights == ("W", "b")
    assert trace.shapes[trace.x] == (BATCH, 3)
    zeros = next(o for o in trace.operations if o.name == "aten::zeros")
    assert zeros.args[0][0] is BATCH
    assert "test_step_trace.py:" in zeros.place


def test_operations_run_on_another_batch() -> None:
    trace = record(lambda w, x, h: torch.cat([x, h], 1).chunk(7, 1)[6] * w["b"] + torch.ones(len(x), 4))
    x, h = torch.randn(9, 3), torch.randn(9, 4)
    values = {0: WEIGHTS["W"], 1: WEIGHTS["b"], 2: x, 3: h}
    run_operations(trace.operations, values, 9)
    assert torch.equal(values[trace.result.value], h[:, 3:] * WEIGHTS["b"] + 1)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (lambda w, x, h: h * float(h.sum()), "numbers in a tensor are read in Python"),
        (lambda w, x, h: h + torch.randn_like(h), "the operation is random: aten.randn_like"),
        (lambda w, x, h: h.view(-1).view(len(h), 4), "the operations depend on the batch size"),
        (lambda w, x, h: h.add_(1), "changes a tensor in place: aten.add_"),
        (lambda w, x, h: h / (2 * len(h)), "an argument depends on the batch size: aten.div"),
        (lambda w, x, h: h if len(h) == 5 else h + 1, "operations depend on the batch size"),
        (lambda w, x, h: 1, "not a tensor"),
        (lambda w, x, h: h @ x, "the cell fails on example tensors: RuntimeError"),
        (
            lambda w, x, h: h + HIDDEN,
            "requires a gradient but is not a registered parameter",
        ),
    ],
)
def test_what_cannot_be_recorded(step: Callable[[Any, Tensor, Tensor], Any], message: str) -> None:
    with pytest.raises(UnsupportedStepError, match=message):
        record(step)


def test_operations_in_place_on_results() -> None:
    trace = record(lambda w, x, h: (h @ w["W"]).add_(w["b"]).tanh_())
    assert [o.name for o in trace.operations] == ["aten::mm", "aten::add", "aten::tanh"]

    def overwrites(w: Any, x: Tensor, h: Tensor) -> Tensor:
        y = h @ w["W"]
        first, _ = y.chunk(2, 1)
        first.zero_()
        return y

    with pytest.raises(UnsupportedStepError, match=r"after an operation changes it in place: aten\.zero_"):
        record(overwrites)


def test_a_recording_draws_nothing_and_changes_nothing() -> None:
    buffer = torch.zeros(4)
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    with pytest.raises(UnsupportedStepError):
        record(lambda w, x, h: h + w["buffer"].add_(1), buffer=buffer)
    with pytest.raises(UnsupportedStepError):
        record(lambda w, x, h: h + torch.rand(4))
    assert torch.equal(torch.rand(2), expected)
    assert torch.equal(buffer, torch.zeros(4))
