"""Pooling over the steps: each sequence over its own, equal to the equation, with gradients, in every kind of model."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import CELLS, TINY, Recorder, bytes_of, cell_settings, names_file, prepared
from rich.console import Console
from torch.nn.utils.rnn import pack_sequence
from untrained import untrained

import ohlol
from ohlol.cells import CELLS as ALL_CELLS
from ohlol.config import POOLINGS as CHOICES
from ohlol.config import ModelSettings
from ohlol.data.batches import Dataset, Ragged, gather
from ohlol.display import page
from ohlol.display.trace_text import trace_to_text
from ohlol.explain.saliency import compute_saliency
from ohlol.explain.trace import trace
from ohlol.models.inputs import PackedInputs, Sizes
from ohlol.models.pooling import POOLINGS, AttentionPooling, MeanPooling
from ohlol.models.sequence_model import SequenceModel
from ohlol.training.fit import fit
from ohlol.training.trainer import Interrupted
from ohlol.utils.errors import InputError

LENGTHS = [3, 7, 1, 7, 4]


def pooling_of(name: str, width: int) -> Any:
    torch.manual_seed(2)
    pooling = POOLINGS[name](width)
    for parameter in pooling.parameters():
        torch.nn.init.normal_(parameter)
    return pooling


def model_of(name: str, *, trained: bool = True, **settings: Any) -> SequenceModel:
    torch.manual_seed(1)
    model = SequenceModel(
        ModelSettings(**{"hidden_size": 4, "embedding_size": 6, "pooling": name, **settings}),
        Sizes(5, 3, per_sequence=True),
    )
    if trained and model.pooling is not None:
        for parameter in model.pooling.parameters():
            torch.nn.init.normal_(parameter)
    return model.eval()


def test_the_choices_are_the_classes() -> None:
    assert ("last", *POOLINGS) == CHOICES


@pytest.mark.parametrize("name", POOLINGS)
def test_a_packed_batch_equals_the_equation_of_each_sequence(name: str) -> None:
    pooling = pooling_of(name, 6).double()
    sequences = [torch.randn(n, 6, dtype=torch.float64, requires_grad=True) for n in LENGTHS]
    packed = pack_sequence(sequences, enforce_sorted=False)
    pooled = pooling(packed.data, packed.batch_sizes)[packed.unsorted_indices]
    scale = torch.randn(len(LENGTHS), 6, dtype=torch.float64)
    gradients = torch.autograd.grad((pooled * scale).sum(), sequences, retain_graph=True)
    for row, (x, gradient) in enumerate(zip(sequences, gradients, strict=True)):
        expected, weights = pooling.pool(x)
        torch.testing.assert_close(pooled[row : row + 1], expected, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(torch.autograd.grad((expected * scale[row]).sum(), x)[0], gradient)
        assert weights.shape == (len(x),)
        assert float(weights.detach().sum()) == pytest.approx(1)


def test_values_computed_by_hand() -> None:
    x = torch.tensor([[1.0, -2.0], [3.0, 0.0], [-1.0, 1.0]])
    mean, weights = MeanPooling(2).pool(x)
    assert mean.tolist() == [pytest.approx([1.0, -1 / 3])]
    assert weights.tolist() == pytest.approx([1 / 3] * 3)
    largest, shares = pooling_of("max", 2).pool(x)
    assert (largest.tolist(), shares.tolist()) == ([[3.0, 1.0]], [0.0, 0.5, 0.5])
    attention = AttentionPooling(2)
    assert attention.pool(x)[0].tolist() == [pytest.approx([1.0, -1 / 3])]  # an untrained query is 0
    with torch.no_grad():
        assert attention.query is not None
        attention.query.copy_(torch.tensor([2.0, -1.0]))
    terms = np.exp(2 * np.tanh([1.0, 3.0, -1.0]) - np.tanh([-2.0, 0.0, 1.0]))
    found, alpha = attention.pool(x)
    np.testing.assert_allclose(alpha.detach().numpy(), terms / terms.sum(), rtol=1e-6)
    np.testing.assert_allclose(found.detach().numpy()[0], (terms / terms.sum()) @ x.numpy(), rtol=1e-6)


@pytest.mark.parametrize("name", POOLINGS)
@pytest.mark.parametrize(("layers", "both"), [(1, False), (2, True)])
@pytest.mark.parametrize("cell", [*CELLS, "mgu", "slstm"])
@torch.no_grad()
def test_a_sequence_does_not_depend_on_its_batch(name: str, layers: int, both: bool, cell: str) -> None:
    settings: dict[str, Any] = cell_settings(cell)
    settings |= {} if settings["loop"] else {"num_layers": layers, "bidirectional": both}
    model = model_of(name, **settings)
    ids = np.random.default_rng(0).integers(0, 5, sum(LENGTHS))
    data = Dataset(Ragged(ids, np.cumsum([0, *LENGTHS], dtype=np.int64)))
    batch = gather(data, np.arange(len(data)))
    logits, _ = model(PackedInputs.of(batch))
    for at, row in enumerate(batch.rows.tolist()):
        alone, _ = model(PackedInputs.of(gather(data, np.array([row]))))
        torch.testing.assert_close(logits[at : at + 1], alone, rtol=1e-5, atol=1e-5)


def test_the_other_weights_begin_as_without_pooling() -> None:
    last, attention = model_of("last"), model_of("attention", trained=False)
    weights = attention.state_dict()
    assert weights.pop("pooling.query").tolist() == [0.0] * 4
    assert all(torch.equal(weights[name], value) for name, value in last.state_dict().items())


@pytest.mark.parametrize("name", POOLINGS)
def test_a_task_with_a_prediction_at_each_step_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"^`pooling` {name} is for tasks with one prediction for a whole sequence"):
        ohlol.fit([("hello", "ohlol")], pooling=name)
    with pytest.raises(InputError, match="`pooling` is 'sum'; it must be one of last, mean, max, attention"):
        ohlol.fit([("hello", "ohlol")], pooling="sum")


@pytest.mark.parametrize("name", POOLINGS)
def test_a_stream_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(InputError, match=rf"\(`pooling` {name}\), so it has no output .* with `pooling=last` and"):
        untrained("classify", pooling=name).stream()


@pytest.mark.parametrize("kind", ["classify", "regress", "multilabel"])
@pytest.mark.parametrize("name", POOLINGS)
def test_every_task_trains_and_loads(kind: str, name: str, tmp_path: Path) -> None:
    data, settings = prepared(kind, tmp_path)
    model = ohlol.fit(data, out=tmp_path / "run", pooling=name, **settings)
    loaded = ohlol.load(tmp_path / "run")
    assert loaded.config.model.pooling == name
    assert loaded.evaluate(data).metrics() == model.evaluate(data).metrics()
    if name == "attention":
        assert bool((loaded.network.state_dict()["pooling.query"] != 0).any())


def test_models_of_the_same_weights_differ_in_their_identity(tmp_path: Path) -> None:
    names = {name: untrained("classify", pooling=name).identity for name in ("last", "mean", "max")}
    assert len(set(names.values())) == 3


def test_a_resumed_run_ends_with_the_same_bytes(tmp_path: Path) -> None:
    data = names_file(tmp_path / "names.csv")
    settings: dict[str, Any] = {**TINY, "input": "name", "target": "kind", "pooling": "attention", "dropout": 0.2}
    ohlol.fit(data, out=tmp_path / "whole", **settings)
    with pytest.raises(Interrupted):
        fit(
            data,
            out=tmp_path / "parts",
            callbacks=[Recorder(lambda recorder, step: recorder.trainer.stop() if step == 9 else None)],  # pyright: ignore
            **settings,
        )
    fit(out=tmp_path / "parts", resume=True)
    whole, parts = (bytes_of(tmp_path / name) for name in ("whole", "parts"))
    assert whole["model.safetensors"] == parts["model.safetensors"]
    assert whole["metrics.jsonl"] == parts["metrics.jsonl"]


@pytest.mark.parametrize(
    ("name", "cell"), [*((name, "gru") for name in POOLINGS), *(("attention", cell) for cell in sorted(ALL_CELLS))]
)
def test_the_equations_equal_the_model_and_show_the_weights(name: str, cell: str) -> None:
    model = untrained("classify", cell=cell, pooling=name, num_layers=2, bidirectional=True)
    if name == "attention":
        torch.nn.init.normal_(model.network.pooling.query)  # pyright: ignore
    found = trace(model, "abcdé", target="first")
    assert found.difference < 1e-5
    assert found.weights is not None
    assert found.weights.shape == (5,)
    assert found.weights.sum() == pytest.approx(1)
    assert found.to_json()["pooling"] == {"equation": found.pooling, "weights": found.weights.tolist()}
    assert compute_saliency(model, "abcdé").gradient.min() > 0 or name == "max"
    assert page.page_data(found)["frames"][0]["arrays"]["pooling/weights"][1:] == (1, 5)
    assert page.page_data(found)["logits_formula"].endswith("logits = W r + b")


def test_a_wrong_pooling_increases_the_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    model = untrained("classify", pooling="mean")
    monkeypatch.setattr(MeanPooling, "scores", lambda self, hidden: 50 * hidden[:, 0])
    assert trace(model, "abcdé").difference > 1e-3


@pytest.mark.parametrize(("lang", "word"), [("en", "weight"), ("zh", "权重")])
def test_the_text_shows_the_weight_of_each_step(lang: str, word: str) -> None:
    model = untrained("classify", pooling="attention")
    torch.nn.init.normal_(model.network.pooling.query)  # pyright: ignore
    found, text = trace(model, "abc"), io.StringIO()
    trace_to_text(found, Console(file=text, width=80), lang=lang)
    shown = [float(v) for v in re.findall(rf"{word} (0\.\d+)", text.getvalue())]
    assert found.weights is not None
    assert shown == pytest.approx(found.weights.tolist(), abs=5e-4)
    assert found.pooling in text.getvalue()
    last, text = trace(untrained("classify"), "abc"), io.StringIO()
    trace_to_text(last, Console(file=text, width=80), lang=lang)
    assert last.weights is None
    assert word not in text.getvalue()
