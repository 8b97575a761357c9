"""Influence against what the model does when an input is changed, and the influence length of a known recurrence."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import CELLS, LOOP, TINY, cell_settings, names_file, text_file, upper_pairs

import ohlol
from ohlol.explain.saliency import MAX_STEPS, compute_saliency
from ohlol.explain.trace import encode_sequence
from ohlol.inference.trained_model import TrainedModel


@pytest.fixture(scope="module")
def hello() -> TrainedModel:
    return ohlol.fit([("hello", "ohlol")], seed=1)


def scores(model: TrainedModel, x: torch.Tensor) -> torch.Tensor:
    """The model's own forward on vectors instead of symbols."""
    sizes = torch.ones(len(x), dtype=torch.int64)
    hidden, state = model.network.hidden(x, sizes, None)
    if model.task == "classify":
        directions = 1 + model.network.settings.bidirectional
        hidden = state[0][-directions:].reshape(1, -1)
    return model.network.head(hidden)


@pytest.mark.parametrize("cell", CELLS)
def test_both_measures_are_recomputed_with_the_model(tmp_path: Path, cell: str) -> None:
    more = {} if cell.endswith(LOOP) else {"num_layers": 2, "bidirectional": True}
    model = ohlol.fit(upper_pairs(tmp_path / "pairs.tsv"), **{**TINY, **cell_settings(cell), "epochs": 1, **more})
    found = compute_saliency(model, "abcad")
    model.network.eval()
    _, packed = encode_sequence(model, "abcad")
    x = model.network.encoder(packed).detach().requires_grad_()
    plain = scores(model, x)
    for n in range(5):
        k = int(plain[n].argmax())
        (gradient,) = torch.autograd.grad(plain[n, k], x, retain_graph=True)
        np.testing.assert_allclose(found.gradient[n], gradient.norm(dim=1), atol=1e-6)
        for t in range(5):
            out = x.detach().clone()
            out[t] = 0
            assert found.ablation[n, t] == pytest.approx(
                float((scores(model, out)[n, k] - plain[n, k]).detach().abs()), abs=1e-6
            )


def test_later_inputs_have_no_influence(hello: TrainedModel) -> None:
    found = compute_saliency(hello, "hello")
    for matrix in (found.gradient, found.ablation):
        assert (np.triu(matrix, 1) == 0).all()
        assert (np.diag(matrix) > 0).all()


def forgetting(model: TrainedModel, keep: float) -> None:
    """Set weights so that the layer approximately multiplies its state by `keep` at every step."""
    with torch.no_grad():
        layer = model.network.layers
        layer.weight_ih_l0.copy_(torch.eye(4) * 1e-3)
        layer.weight_hh_l0.copy_(torch.eye(4) * keep)
        layer.bias_ih_l0.zero_()
        layer.bias_hh_l0.zero_()


@pytest.mark.parametrize(("keep", "length", "bptt"), [(0.05, 2, 8), (0.5, 7, 8), (0.7, 13, 16), (0.999, None, 64)])
def test_the_influence_length_of_a_known_recurrence(keep: float, length: int | None, bptt: int) -> None:
    model = ohlol.fit([("hello", "ohlol")], seed=1, epochs=1)
    forgetting(model, keep)
    found = compute_saliency(model, "helo" * 10)
    assert (found.influence_length, found.recommended_bptt) == (length, bptt)  # 0.5 ** 7 is the first power under 1 %
    np.testing.assert_allclose(found.by_distance[:8], keep ** np.arange(8), rtol=0.02)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_one_prediction_per_sequence(tmp_path: Path, bidirectional: bool) -> None:
    model = ohlol.fit(
        names_file(tmp_path / "names.csv"),
        input="name",
        target="kind",
        **{**TINY, "epochs": 1, "bidirectional": bidirectional},
    )
    found = compute_saliency(model, "bdlmna")
    assert found.gradient.shape == found.ablation.shape == (1, 6)
    model.network.eval()
    x = model.network.encoder(encode_sequence(model, "bdlmna")[1]).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(scores(model, x).max(), x)
    np.testing.assert_allclose(found.gradient[0], gradient.norm(dim=1), atol=1e-6)
    np.testing.assert_allclose(found.by_distance, found.gradient[0][::-1] / found.gradient.max())
    assert compute_saliency(model, "b").gradient.shape == (1, 1)


def test_the_end_of_a_long_text(tmp_path: Path) -> None:
    model = ohlol.fit(text_file(tmp_path / "text.txt"), **{**TINY, "epochs": 1})
    text = "the cat sat on the mat\n" * 30
    found = compute_saliency(model, text)
    assert "".join(found.symbols) == text[-MAX_STEPS:]
    assert found.gradient.shape == (MAX_STEPS, MAX_STEPS)


def test_saliency_is_written_as_json(hello: TrainedModel) -> None:
    data = json.loads(json.dumps(compute_saliency(hello, "hello").to_json()))
    assert data["influence_length"] == 4
    assert data["recommended_bptt"] == 8
    assert len(data["gradient"]) == len(data["ablation"]) == len(data["by_distance"]) == 5
