"""Activation regularization: its values, over packed sequences, and that only training has it."""

import doctest
from pathlib import Path

import pytest
import torch
from helpers import Recorder, prepared

import ohlol
from ohlol.config import TrainSettings
from ohlol.training import penalties
from ohlol.training.penalties import ActivationPenalties, changes


def make(alpha: float, beta: float) -> ActivationPenalties:
    return ActivationPenalties(TrainSettings(activation_regularization=alpha, temporal_activation_regularization=beta))


def test_penalties_are_the_means_over_all_sequences() -> None:
    torch.manual_seed(0)
    sequences = [torch.randn(length, 3) for length in (4, 4, 2, 1)]
    packed = torch.nn.utils.rnn.pack_sequence(sequences)
    dropped = torch.nn.functional.dropout(packed.data, 0.5)
    differences = torch.cat([sequence[1:] - sequence[:-1] for sequence in sequences])
    for alpha, beta in ((2.0, 0.0), (0.0, 3.0), (2.0, 3.0)):
        both = make(alpha, beta)
        assert both
        both.observe(packed.data, dropped)
        expected = alpha * dropped.square().mean() + beta * differences.square().mean()
        torch.testing.assert_close(both.compute(packed.batch_sizes), expected)
    assert not make(0.0, 0.0)


def test_sequences_of_one_step_do_not_change() -> None:
    penalty = make(0.0, 1.0)
    penalty.observe(torch.ones(3, 2), torch.ones(3, 2))
    assert penalty.compute(torch.tensor([3])) == 0
    assert changes(torch.ones(3, 2), torch.tensor([3])).shape == (0, 2)


@pytest.mark.parametrize("kind", ["next", "classify", "label", "forecast"])
def test_the_loss_that_is_reported_has_no_penalty(kind: str, tmp_path: Path) -> None:
    data, settings = prepared(kind, tmp_path)
    settings |= {"epochs": 1, "lr": 1e-12, "dropout": 0.0, "embedding_dropout": 0.0}
    recorders = [Recorder(), Recorder()]
    ohlol.fit(data, callbacks=recorders[:1], **settings)
    ohlol.fit(data, callbacks=recorders[1:], activation_regularization=1e3, **settings)
    one, two = (recorder.epochs[0].loss for recorder in recorders)
    assert two == pytest.approx(one, rel=1e-6)


def test_penalties_make_outputs_small_and_slow(tmp_path: Path) -> None:
    data, settings = prepared("next", tmp_path)
    sizes = []
    for extra in ({}, {"activation_regularization": 30.0}, {"temporal_activation_regularization": 30.0}):
        model = ohlol.fit(data, **{**settings, "epochs": 30, "lr": 0.02, "dropout": 0.0}, **extra)
        with torch.no_grad():
            hidden, _ = model.network.layers(model.network.encoder.embedding.weight[:4])
        sizes.append((float(hidden.square().mean()), float(hidden.diff(dim=0).square().mean())))
    (size, change), (small, _), (_, slow) = sizes
    assert small < 0.5 * size
    assert slow < 0.5 * change


def test_docstrings() -> None:
    result = doctest.testmod(penalties)
    assert result.attempted > 0
    assert result.failed == 0
