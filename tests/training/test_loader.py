"""The data loader: which steps of a batch are predicted in training."""

import numpy as np
import pytest
import torch

import ohlol
from ohlol.data.batches import ORIGINS, Buckets, choose_origins
from ohlol.data.codec import Codec
from ohlol.data.panel import Panel, PanelColumns, TimeSeries, TimeStep
from ohlol.data.panel_dataset import encode_panel_parts
from ohlol.models.inputs import Sizes
from ohlol.models.sequence_model import SequenceModel
from ohlol.tasks import TASKS
from ohlol.training.loader import BatchLoader


def load(horizon: int, epoch: int = 0):
    """The first batch of a panel of two series, and the model for it."""
    rng = np.random.default_rng(0)
    series = tuple(TimeSeries(name, rng.normal(50, 5, (T, 1)), None) for name, T in (("a", 160), ("b", 130)))
    panel = Panel(series, PanelColumns(("y",)), TimeStep(), 1)
    codec, train, _ = encode_panel_parts(panel, horizon, 0.0, 50)
    settings, _ = TASKS["forecast"].defaults("char")
    model = SequenceModel(settings, Sizes(codec.inputs, codec.outputs, numeric=True, base=codec.outputs)).eval()
    loader = BatchLoader(
        Buckets(train, 2, (0, epoch), horizon=horizon),
        Codec.of_panel("forecast", codec),
        None,
        (0, epoch),
        torch.device("cpu"),
    )
    return loader[0], model


def test_a_short_horizon_is_forecast_from_every_step_that_has_a_target():
    current, _ = load(ORIGINS)
    assert current.batch.targets.shape == (len(current.packed.predicted), ORIGINS)
    assert np.isfinite(current.batch.targets).any(axis=1).all()
    assert 0 < len(current.packed.predicted) < len(current.packed.inputs)  # the first rows of a series are read alone


def test_of_rows_without_any_target_some_are_chosen():
    batch_sizes, targets, positions = np.array([2, 2, 1]), np.full((5, 3), np.nan), np.array([4, 2, 0, 1, 3])

    def choose(horizon: int, first: int = 0):
        steps, values = choose_origins(targets, positions, batch_sizes, horizon, first)
        assert np.array_equal(values, targets[positions[steps]], equal_nan=True)
        return steps.tolist()

    assert choose(3) == [0, 1, 2, 3, 4]
    targets[1, 1] = 7.0  # step 3
    assert choose(3) == [3]
    assert choose(2 * ORIGINS, first=1) == [3]
    assert choose(2 * ORIGINS) == [0, 1, 4]  # none of these steps has one


def test_a_long_horizon_is_forecast_from_one_step_in_several():
    current, model = load(4 * ORIGINS)
    steps = current.packed.predicted
    assert steps is not None
    assert len(steps) == pytest.approx(len(current.packed.inputs) / 4, rel=0.1)
    assert len(current.targets) == len(steps)
    whole, _ = model(current.packed._replace(predicted=None))
    chosen, _ = model(current.packed)
    assert torch.allclose(chosen, whole[steps], atol=1e-6)


def test_every_step_has_its_turn_and_a_batch_is_the_same_again():
    firsts = {int(load(4 * ORIGINS, epoch)[0].packed.predicted[0]) for epoch in range(30)}
    assert len(firsts) == 4
    again = [load(4 * ORIGINS, 3)[0].packed.predicted for _ in range(2)]
    assert torch.equal(*again)


def test_a_run_of_a_long_horizon_trains():
    rows = [{"t": float(t), "y": 10 + np.sin(t / 4)} for t in range(200)]
    model = ohlol.fit(rows, task="forecast", time="t", target="y", horizon=24, season=1, epochs=2, hidden_size=4)
    assert len(model.forecast(rows)[0].point) == 24
