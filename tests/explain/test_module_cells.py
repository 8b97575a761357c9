"""Explaining cells that are modules: trace, gradients, JSON, neurons, saliency, and what is refused."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from module_cells import MODULE_CELLS, imported
from torch import Tensor

import ohlol
from ohlol.explain.neurons import record_states
from ohlol.explain.saliency import compute_saliency
from ohlol.explain.trace import trace
from ohlol.inference.trained_model import TrainedModel
from ohlol.models.reference import unroll_model
from ohlol.utils.errors import InputError

PAIRS = [("hello", "ohlol")]


@pytest.fixture(scope="module", autouse=True)
def _imported() -> Iterator[None]:
    with imported():
        yield


def fit(cell: str, **options: Any) -> TrainedModel:
    options = {"epochs": 2, "hidden_size": 5, "head": "softmax", "seed": 1, **options}
    return ohlol.fit(PAIRS, cell=MODULE_CELLS.get(cell, cell), **options)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", [*MODULE_CELLS, "module_cells:Cumulative"])
def test_the_copy_in_float64_equals_the_model(cell: str, bidirectional: bool) -> None:
    model = fit(cell, num_layers=2, bidirectional=bidirectional)
    found = trace(model, "hello", target="ohlol")
    assert found.difference < 1e-5
    assert len(found.layers) == 4 if bidirectional else 2
    for layer in found.layers:
        assert layer.gates == ()
        assert len(layer.lines) == 5
        assert [rows.shape[1] for rows in layer.after.values()] == list(model.network.state_sizes)
        assert layer.output.shape == (5, model.network.output_size)
        order = range(4, -1, -1) if layer.direction == "backward" else range(5)
        previous: dict[str, Any] = {name: np.zeros(rows.shape[1]) for name, rows in layer.after.items()}
        for t in order:
            for name, rows in layer.before.items():
                np.testing.assert_array_equal(rows[t], previous[name])
            previous = {name: rows[t] for name, rows in layer.after.items()}


@pytest.mark.parametrize("cell", ["lstm", "two_widths", "one_tensor"])
def test_lines_return_the_states_and_the_output(cell: str) -> None:
    (layer,) = trace(fit(cell), "hello").layers
    for t, lines in enumerate(layer.lines):
        returned = [row for name, row in lines[-1].values.items() if name.startswith("return")]
        states = [rows[t] for rows in layer.after.values()]
        expected = [layer.output[t], *states] if cell == "two_widths" else states
        for row, values in zip(returned, expected, strict=True):
            np.testing.assert_array_equal(row, values)


def test_lines_equal_the_equation_computed_by_hand() -> None:
    model = fit("gru")
    (layer,) = trace(model, "hello").layers
    cell = model.network.layers.cells[0].double()
    with torch.no_grad():
        x, h = torch.from_numpy(layer.inputs[2:3]), torch.from_numpy(layer.before["h"][2:3])
        x_r, x_z, x_n = cell.ih(x).chunk(3, 1)
        h_r, h_z, h_n = cell.hh(h).chunk(3, 1)
        r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
        n = torch.tanh(x_n + r * h_n)
    values = {name: row for line in layer.lines[2] for name, row in line.values.items()}
    for name, expected in {"r": r, "z": z, "n": n, "return": (1 - z) * n + z * h}.items():
        np.testing.assert_allclose(values[name], expected[0].numpy(), rtol=0, atol=1e-12)


def test_gradients_equal_differences_of_the_loss() -> None:
    model = fit("gru", num_layers=2)
    found = trace(model, "hello", target="ohlol")
    network = model.network
    ids = torch.from_numpy(model.codec.labels.encode(list("ohlol"))).long()  # type: ignore[union-attr]
    x = torch.from_numpy(found.layers[0].inputs)

    def loss(layer: int, t: int, change: Tensor) -> float:
        """The loss if a state is changed after a time step."""
        calls = iter(range(10))

        def call(cell: torch.nn.Module, x: Tensor, state: Tensor) -> Tensor:
            result = cell(x, state)
            return result + change if next(calls) == layer * 5 + t else result

        logits, _ = unroll_model(network, x, call)
        return float(torch.nn.functional.cross_entropy(logits, ids))

    for layer, t, j in ((0, 1, 2), (0, 4, 0), (1, 0, 4), (1, 3, 1)):
        step = torch.zeros(1, 5, dtype=torch.float64)
        step[0, j] = 1e-5
        slope = (loss(layer, t, step) - loss(layer, t, -step)) / 2e-5
        gradients = found.layers[layer].gradients
        assert gradients is not None
        assert gradients["h"][t, j] == pytest.approx(slope, abs=1e-9)


def test_json_has_every_line_and_number() -> None:
    found = trace(fit("two_widths"), "hello", target="ohlol")
    data = json.loads(json.dumps(found.to_json()))
    (layer,) = data["layers"]
    assert layer["W_ih"] is layer["W_hh"] is None
    assert layer["equation"] == []
    step, lines = layer["steps"][3], found.layers[0].lines[3]
    assert step["gates"] == {}
    assert [line["text"] for line in step["lines"]] == [line.text for line in lines]
    assert step["lines"][1]["values"] == {"wide": lines[1].values["wide"].tolist()}
    assert set(step["lines"][0]) == {"file", "line", "text", "depth", "values"}
    assert step["output"] == found.layers[0].output[3].tolist()
    assert step["after"]["c"] == found.layers[0].after["c"][3].tolist()
    assert len(step["gradient"]["c"]) == 1


def test_values_over_time_need_the_same_lines_at_all_steps() -> None:
    (layer,) = trace(fit("lstm"), "hello").layers
    over_time = {name: rows for _, name, rows in layer.lines_over_time()}
    assert {"i", "f", "g", "o"} <= set(over_time)
    np.testing.assert_array_equal(over_time["i"][3], next(r.values["i"] for r in layer.lines[3] if "i" in r.values))
    (branches,) = trace(fit("module_cells:Branches"), "hello").layers
    assert {len(lines) for lines in branches.lines} == {5, 4}
    assert branches.lines_over_time() == []


def test_a_cell_of_torch_has_no_lines() -> None:
    (layer,) = trace(fit("torch.nn:GRUCell"), "hello").layers
    assert layer.lines == ((),) * 5


def test_a_cell_that_cannot_run_in_float64_is_refused() -> None:
    with pytest.raises(InputError, match=r"cannot run in torch.float64: RuntimeError: .*module_cells.py:\d+\)$"):
        trace(fit("module_cells:Single"), "hello")


@pytest.mark.parametrize("cell", ["two_widths", "stabilized"])
def test_neurons_and_saliency(cell: str) -> None:
    model = fit(cell)
    states = record_states(model, "hello" * 5)
    widths = model.network.state_sizes
    assert [neuron.state for neuron in states.neurons] == [
        name for name, width in zip(model.network.state_names, widths, strict=True) for _ in range(width)
    ]
    assert states.values.shape == (25, sum(widths))
    saliency = compute_saliency(model, "hello")
    assert (saliency.gradient[0, 1:] == 0).all()
    assert (saliency.ablation >= 0).all()


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_classifier_reads_the_last_outputs(bidirectional: bool) -> None:
    from untrained import untrained

    model = untrained("classify", cell="module_cells:TwoWidths", bidirectional=bidirectional, num_layers=2)
    assert trace(model, "abcab").difference < 1e-5
