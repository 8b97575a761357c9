"""The numbers of a trace equal those computed by hand from the weights and those of the model's forward pass."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import CELLS, LOOP, TINY, cell_settings, conll_file, names_file, sine_file, text_file, upper_pairs

import ohlol
from ohlol.cells import CELLS as CELL_SPECS
from ohlol.explain.trace import ACTIVATIONS, Trace, trace
from ohlol.inference.trained_model import TrainedModel
from ohlol.utils.errors import InputError


@pytest.fixture(scope="module")
def hello() -> TrainedModel:
    return ohlol.fit([("hello", "ohlol")], seed=1)


def weights(model: TrainedModel) -> dict[str, list[Any]]:
    return {name: p.detach().double().tolist() for name, p in model.network.state_dict().items()}


def test_hello_computed_by_hand(hello: TrainedModel) -> None:
    """Computed with Python floats, without tensors."""
    found = trace(hello, "hello", target="ohlol")
    w = weights(hello)
    W_ih, W_hh = w["layers.weight_ih_l0"], w["layers.weight_hh_l0"]
    b_ih, b_hh = w["layers.bias_ih_l0"], w["layers.bias_hh_l0"]
    h, losses = [0.0] * 4, []
    (layer,), (gate,) = found.layers, found.layers[0].gates
    for t, (letter, wanted) in enumerate(zip("hello", "ohlol", strict=True)):
        x = [float(letter == symbol) for symbol in "ehlo"]
        of_x = [sum(W_ih[j][k] * x[k] for k in range(4)) for j in range(4)]
        of_h = [sum(W_hh[j][k] * h[k] for k in range(4)) for j in range(4)]
        total = [of_x[j] + b_ih[j] + of_h[j] + b_hh[j] for j in range(4)]
        before, h = h, [math.tanh(v) for v in total]
        scale = sum(math.exp(v) for v in h)
        losses.append(math.log(scale) - h["ehlo".index(wanted)])
        for mine, its in (
            (x, layer.inputs[t]),
            (of_x, gate.W_ih_x[t]),
            (b_ih, gate.b_ih),
            (of_h, gate.W_hh_h[t]),
            (b_hh, gate.b_hh),
            (total, gate.total[t]),
            (h, gate.value[t]),
            (before, layer.before["h"][t]),
            (h, layer.after["h"][t]),
            (h, found.logits[t]),
            ([math.exp(v) / scale for v in h], found.probabilities[t]),
        ):
            np.testing.assert_allclose(its, mine, rtol=0, atol=1e-6)
        assert found.predicted[t] == "ehlo"[h.index(max(h))] == wanted
    np.testing.assert_allclose(found.losses, losses, rtol=0, atol=1e-6)
    assert found.loss == pytest.approx(sum(losses) / 5, abs=1e-6)
    assert found.difference < 1e-6


def test_gradients_of_hello_computed_by_hand(hello: TrainedModel) -> None:
    """Backpropagation through time written out: dL/dh_t = (p_t - y_t)/5 + W_hh^T ((1 - h_{t+1}^2) dL/dh_{t+1})."""
    found = trace(hello, "hello", target="ohlol")
    W_hh = np.array(weights(hello)["layers.weight_hh_l0"])
    h, gradients = found.layers[0].after["h"], found.layers[0].gradients
    assert gradients is not None
    carried = np.zeros(4)
    for t in range(4, -1, -1):
        wanted = np.eye(4)["ehlo".index("ohlol"[t])]
        expected = (found.probabilities[t] - wanted) / 5 + carried
        np.testing.assert_allclose(gradients["h"][t], expected, rtol=0, atol=1e-12)
        carried = W_hh.T @ ((1 - h[t] ** 2) * expected)


def recomposed(found: Trace) -> None:
    """The states computed from the gates."""
    for layer in found.layers:
        g = {gate.name: gate.value for gate in layer.gates}
        old, new = layer.before, layer.after
        if layer.cell == "gru":
            np.testing.assert_allclose(new["h"], (1 - g["z"]) * g["n"] + g["z"] * old["h"], atol=1e-12)
        elif layer.cell == "lstm":
            np.testing.assert_allclose(new["c"], g["f"] * old["c"] + g["i"] * g["g"], atol=1e-12)
            np.testing.assert_allclose(new["h"], g["o"] * np.tanh(new["c"]), atol=1e-12)
        else:
            np.testing.assert_allclose(new["h"], g["h"], atol=1e-12)
        order = slice(None, None, -1) if layer.direction == "backward" else slice(None)
        for name in new:
            np.testing.assert_array_equal(old[name][order][1:], new[name][order][:-1])
            np.testing.assert_array_equal(old[name][order][0], 0)


@pytest.mark.parametrize("cell", CELLS)
def test_equations_equal_the_forward_pass_of_the_model(tmp_path: Path, cell: str) -> None:
    single = cell.endswith(LOOP)
    more = {} if single else {"num_layers": 2, "bidirectional": True}
    model = ohlol.fit(upper_pairs(tmp_path / "pairs.tsv"), **{**TINY, **cell_settings(cell), "epochs": 1, **more})
    found = trace(model, "abcab", target="ABCAB")
    said = model.predict("abcab", n_best=3)
    assert list(found.predicted) == said.labels
    assert found.difference < 1e-6
    assert len(found.layers) == (1 if single else 4)
    for n in range(5):
        assert [label for label, _ in found.best(n, 3)] == [label for label, _ in said.best[n]]
        assert [p for _, p in found.best(n, 3)] == pytest.approx([p for _, p in said.best[n]], abs=1e-6)
    recomposed(found)
    for layer in found.layers:
        assert set(layer.gradients or ()) == set(layer.after)


def test_a_wrong_weight_increases_the_difference(hello: TrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = hello.network.layers.forward
    monkeypatch.setattr(hello.network.layers, "forward", lambda x, hx=None: tuple(o + 0.25 for o in forward(x, hx)))
    assert trace(hello, "hello").difference == pytest.approx(0.25, abs=1e-6)


def test_activations_equal_those_of_torch() -> None:
    x = torch.linspace(-3, 3, 13, dtype=torch.float64)
    assert set(ACTIVATIONS) == {gate.activation for spec in CELL_SPECS.values() for gate in spec.gates}
    for name, activation in ACTIVATIONS.items():
        assert activation(x.numpy()) == pytest.approx(getattr(torch, name)(x).numpy(), abs=1e-15)


def test_a_trace_of_task_next_has_the_next_symbols_as_targets(tmp_path: Path) -> None:
    model = ohlol.fit(text_file(tmp_path / "text.txt"), **{**TINY, "epochs": 1})
    found = trace(model, "the cat")
    assert found.targets == ("h", "e", " ", "c", "a", "t", None)
    assert found.losses is not None
    assert found.losses[-1] is None
    known = [v for v in found.losses if v is not None]
    expected = [-math.log(found.probabilities[n, found.labels.index("he cat"[n])]) for n in range(6)]
    assert known == pytest.approx(expected, abs=1e-9)
    assert found.loss == pytest.approx(sum(known) / 6)
    assert found.difference < 1e-6
    with pytest.raises(InputError, match="the target of a text is the text itself"):
        trace(model, "the", target="hec")


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_trace_of_a_classifier_has_one_prediction(tmp_path: Path, bidirectional: bool) -> None:
    model = ohlol.fit(
        names_file(tmp_path / "names.csv"),
        input="name",
        target="kind",
        **{**TINY, "epochs": 1, "bidirectional": bidirectional},
    )
    found = trace(model, "bdla", target="first")
    assert found.logits.shape == (1, 2)
    assert list(found.predicted) == model.predict("bdla").labels
    assert found.loss == pytest.approx(-math.log(found.probabilities[0, found.labels.index("first")]), abs=1e-9)
    assert found.difference < 1e-6
    assert trace(model, "bdla").loss is None


def test_a_trace_of_words_includes_the_character_states(tmp_path: Path) -> None:
    model = ohlol.fit(conll_file(tmp_path / "tags.conll"), char_rnn_size=4, **{**TINY, "epochs": 1})
    found = trace(model, "Ada sees New Rome", target="B-PER O B-LOC I-LOC")
    assert found.symbols == ("Ada", "sees", "New", "Rome")
    assert found.layers[0].inputs.shape == (4, 5 + 2 * 4)
    assert found.difference < 1e-6


def test_a_training_pair_has_its_target(hello: TrainedModel) -> None:
    assert trace(hello, "hello").targets == tuple("ohlol")
    other = trace(hello, "hell")
    assert other.loss is None
    assert other.targets is None
    assert other.layers[0].gradients is None


def test_json_has_the_same_values(hello: TrainedModel) -> None:
    found = trace(hello, "hello")
    data = json.loads(json.dumps(found.to_json()))
    step = data["layers"][0]["steps"][2]
    assert step["gates"]["h"]["sum"] == found.layers[0].gates[0].total[2].tolist()
    assert step["after"]["h"] == found.layers[0].after["h"][2].tolist()
    # tanh of all steps at once and of one step may differ in the last bit
    assert step["gates"]["h"]["value"] == pytest.approx(step["after"]["h"], rel=1e-14)
    assert len(data["predictions"]) == 5
    assert data["predictions"][2]["loss"] == found.losses[2]  # pyright: ignore[reportOptionalSubscript]
    assert trace(hello, "hell").to_json()["layers"][0]["steps"][0]["gradient"] is None


def test_invalid_arguments_are_refused(hello: TrainedModel, tmp_path: Path) -> None:
    for sequence, target, message in (
        ("", None, "is empty"),
        ("hexx", None, "'x' was not seen in training"),
        ("hello", "ohl", "`target` has 3 labels; it must have 5"),
        ("hello", "ohlox", "`target`: the model has no label 'x'"),
    ):
        with pytest.raises(InputError, match=message):
            trace(hello, sequence, target=target)
    numbers = ohlol.fit(sine_file(tmp_path / "sine.csv", 60), task="next_row", hidden_size=4, epochs=1)
    with pytest.raises(InputError, match="next_row"):
        trace(numbers, "1")


def test_the_mode_of_the_model_is_restored(hello: TrainedModel) -> None:
    hello.network.zero_grad()
    for mode in (True, False):
        hello.network.train(mode)
        trace(hello, "hello")
        assert hello.network.training is mode
    assert all(p.grad is None for p in hello.network.parameters())
    assert torch.is_grad_enabled()
