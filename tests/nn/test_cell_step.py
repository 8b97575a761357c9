"""Fingerprints of cells, hooks, and the check of a compiled step."""

import random
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from user_cells import PlainGRU, PlainLSTM

from ohlol import ops
from ohlol.cells.step_trace import UnsupportedStepError
from ohlol.nn import cell_step
from ohlol.nn.cell_interface import find_interface
from ohlol.nn.cell_step import is_current, read_cell, view_cell


def test_a_fingerprint_changes_with_what_a_step_depends_on() -> None:
    cell = PlainLSTM(3, 5)
    before = view_cell(cell, torch.float32)
    assert view_cell(cell, torch.float32).key == before.key
    assert hash(before.key) is not None
    for change in (
        lambda: cell.eval(),
        lambda: setattr(cell, "scale", 2.0),
        lambda: setattr(cell, "options", {"a": [1, 2]}),
        lambda: setattr(cell, "table", torch.zeros(2)),
        lambda: cell.table.add_(1),
        lambda: cell.options["a"].append(3),
        lambda: setattr(cell, "hh", torch.nn.Linear(5, 20, bias=False)),
        lambda: setattr(cell.hh, "extra", 1),
        lambda: setattr(cell.ih.weight, "data", torch.zeros(20, 4)),
        lambda: cell.register_buffer("limit", torch.ones(1)),
        lambda: setattr(cell.ih, "__class__", torch.nn.Bilinear),
        lambda: setattr(cell, "config", SimpleNamespace(scale=1.0)),
        lambda: setattr(cell.config, "scale", 2.0),
        lambda: setattr(PlainLSTM, "limit_of_all", 1.0),
        lambda: delattr(PlainLSTM, "limit_of_all"),
        lambda: cell.double(),
    ):
        assert is_current(before)
        change()
        assert not is_current(before)
        after = view_cell(cell, torch.float32)
        assert after.key != before.key
        before = after


def test_an_object_in_the_memory_of_another_is_another() -> None:
    cell, keys = PlainLSTM(3, 5), set()
    for number in range(50):
        cell.scale = np.float64(number)
        keys.add(view_cell(cell, torch.float32).key)
    assert len(keys) == 50


def test_objects_that_are_no_data_are_not_looked_into() -> None:
    cell = PlainLSTM(3, 5)
    cell.worker = SimpleNamespace(lock=threading.Lock(), number=0)
    cell.random = random.Random()
    cell.table = SimpleNamespace(words={str(number): number for number in range(1000)})
    before = view_cell(cell, torch.float32)
    cell.worker.number = 1
    cell.random.gauss_next = 1.0
    cell.table.words["0"] = 1
    assert is_current(before)


def test_a_view_is_not_current_where_weights_or_hooks_are_others() -> None:
    cell = PlainLSTM(3, 5)
    for change in (
        lambda: setattr(cell.ih, "weight", torch.nn.Parameter(torch.zeros(20, 3))),
        lambda: setattr(cell.hh.weight, "data", cell.hh.weight.data.half()),
        lambda: cell.ih.weight.untyped_storage().resize_(0),
        lambda: cell.register_forward_hook(lambda *_: None),
    ):
        before = view_cell(cell, torch.float32)
        change()
        assert not is_current(before)


def test_the_numbers_of_parameters_do_not_matter() -> None:
    cell = PlainLSTM(3, 5)
    before = view_cell(cell, torch.float32).key
    with torch.no_grad():
        cell.hh.weight.mul_(2)
    cell.load_state_dict(PlainLSTM(3, 5).state_dict())
    assert view_cell(cell, torch.float32).key == before


def test_hooks() -> None:
    cell = PlainLSTM(3, 5)
    assert view_cell(cell, torch.float32).obstacle == ""
    cell.hh.register_full_backward_hook(lambda *_: None)
    assert view_cell(cell, torch.float32).obstacle == "the cell.hh has hooks"


@pytest.mark.skipif(not ops.available(), reason="the compiled kernels are not installed")
def test_a_step_with_other_results_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = PlainGRU(3, 5)
    interface = find_interface(cell, 3)
    read_cell(cell, interface, 3, torch.float32)
    run_step = cell_step.run_step

    def wrong(*args: object) -> object:
        out, final = run_step(*args)  # type: ignore[arg-type]
        return out * 1.01, final

    monkeypatch.setattr(cell_step, "run_step", wrong)
    with pytest.raises(UnsupportedStepError, match="are not those of the cell"):
        read_cell(cell, interface, 3, torch.float32)
