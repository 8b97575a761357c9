"""Dynamic evaluation: each segment is measured before the model learns from it, and the model does not change."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import prepared, text_file

import ohlol
from ohlol.checkpoint.weights import get_weights
from ohlol.config import DYNAMIC_LR, DynamicSettings
from ohlol.inference.trained_model import TrainedModel
from ohlol.utils.errors import InputError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    data, settings = prepared("next", tmp_path_factory.mktemp("dynamic"))
    return ohlol.fit(data, **{**settings, "epochs": 2})


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return text_file(tmp_path_factory.mktemp("text") / "text.txt", 300)


@pytest.mark.parametrize("kind", DYNAMIC_LR)
def test_a_segment_is_measured_before_it_is_learned_from(kind: str, model: TrainedModel, text: Path) -> None:
    settings = DynamicSettings(kind, 0.05, 0.1, 7)
    before = {name: weight.clone() for name, weight in get_weights(model.network).items()}
    metrics = model.evaluate_dynamic(text, settings).metrics()
    assert all(torch.equal(weight, before[name]) for name, weight in get_weights(model.network).items())

    network = model.network
    symbols = model.codec.symbols
    assert symbols is not None
    ids = torch.tensor([symbols.symbols.index(c) for c in text.read_text()])
    start = [p.detach().clone() for p in network.parameters()]
    squares = [torch.zeros_like(p) for p in start]
    state, total, count = None, 0.0, 0
    for first in range(0, len(ids) - 1, 7):
        x, targets = ids[first : min(first + 7, len(ids) - 1)], ids[first + 1 : first + 8]
        vectors = network.encoder.embedding(x)[:, None]
        hidden, state = network.layers(vectors, state)
        loss = torch.nn.functional.cross_entropy(network.head(hidden[:, 0]), targets)
        total, count = total + float(loss.detach()) * len(x), count + len(x)
        state = tuple(s.detach() for s in state)
        gradients = torch.autograd.grad(loss, list(network.parameters()))
        step = first // 7 + 1
        with torch.no_grad():
            for p, p0, g, square in zip(network.parameters(), start, gradients, squares, strict=True):
                if kind == "rms":
                    square.mul_(0.999).addcmul_(g, g, value=0.001)
                    g = g / ((square / (1 - 0.999**step)).sqrt() + 1e-8)
                p.copy_(0.9 * (p - 0.05 * g) + 0.1 * p0)
    with torch.no_grad():
        for p, p0 in zip(network.parameters(), start, strict=True):
            p.copy_(p0)
    assert metrics["loss"] == pytest.approx(total / count, rel=1e-5)
    assert count == 299


def test_a_text_unlike_the_training_text_is_learned(model: TrainedModel, tmp_path: Path) -> None:
    symbols = model.codec.symbols
    assert symbols is not None
    rare = "".join(np.random.default_rng(0).permutation([s for s in symbols.symbols if len(s) == 1])[:3])
    path = tmp_path / "other.txt"
    path.write_text(rare * 200)
    static = model.evaluate(path).metrics()["bits"]
    assert model.evaluate_dynamic(path).metrics()["bits"] < static
    unchanged = DynamicSettings(dynamic_lr=1e-12)
    assert model.evaluate_dynamic(path, unchanged).metrics()["bits"] == pytest.approx(static, rel=0.05)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dynamic_optimizer": "adam"}, "`dynamic_optimizer` is 'adam'; it must be one of rms, sgd"),
        ({"dynamic_lr": 0.0}, "`dynamic_lr` is 0.0; it must be greater than 0"),
        ({"dynamic_lr": float("nan")}, "`dynamic_lr` is nan; it must be greater than 0"),
        ({"dynamic_decay": 1.0}, r"`dynamic_decay` is 1.0; it must be in \[0, 1\)"),
        ({"dynamic_steps": 0}, "`dynamic_steps` is 0; it must be at least 1"),
        ({"dynamic_steps": 1 << 30}, "it must be at most"),
    ],
)
def test_settings_have_bounds(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        DynamicSettings(**options)


def test_a_loss_that_is_not_finite_is_reported(model: TrainedModel, text: Path) -> None:
    with pytest.raises(InputError, match="a lower `dynamic_lr` than 1e\\+38 helps"):
        model.evaluate_dynamic(text, DynamicSettings("sgd", 1e38))


def test_other_tasks_are_refused(tmp_path: Path) -> None:
    data, settings = prepared("classify", tmp_path)
    model = ohlol.fit(data, **settings)
    with pytest.raises(InputError, match="this model's task is classify: leave it out"):
        model.evaluate_dynamic(data)
