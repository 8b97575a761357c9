"""The mean of the weights: its values, when it begins, that it is evaluated and kept, and resumed to the bit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Recorder, bytes_of, prepared

import ohlol
from ohlol.checkpoint.run_directory import load_model
from ohlol.checkpoint.weights import read_tensors
from ohlol.config import TrainSettings
from ohlol.training import averaging
from ohlol.training.averaging import WeightAverage
from ohlol.training.trainer import Interrupted
from ohlol.utils.errors import InputError

REGULARIZED: dict[str, Any] = {
    "num_layers": 2, "dropout": 0.2, "embedding_dropout": 0.2, "locked_dropout": True, "word_dropout": 0.1,
    "weight_dropout": 0.3, "activation_regularization": 2.0, "temporal_activation_regularization": 1.0,
}  # fmt: skip


def test_ema_is_the_moving_average_with_a_rising_decay() -> None:
    weight = torch.nn.Parameter(torch.tensor([0.0, 1.0]))
    average = WeightAverage(TrainSettings(weight_averaging="ema", ema_decay=0.25), [weight])
    expected = None
    for step in range(6):
        with torch.no_grad():
            weight += step + 1
        average.update()
        value = weight.detach().clone()
        decay = min(0.25, (1 + step) / (10 + step))
        expected = value if expected is None else decay * expected + (1 - decay) * value
        with average.applied():
            torch.testing.assert_close(weight.detach(), expected)
        assert torch.equal(weight, value)


def test_nt_asgd_begins_where_the_loss_stops_falling() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    average = WeightAverage(TrainSettings(weight_averaging="nt_asgd"), [weight])
    losses = [5.0, 4.0, 3.0, 3.5, 3.6, 3.4, 3.2, 4.1]
    for count in range(1, len(losses) + 1):
        average.observe_losses(losses[:count])
        average.update()
        assert average.steps == (count == 8)  # 4.1 is more than 4.0, six epochs before; 3.2 is not more than 5.0
    for value in (4.0, 8.0):
        with torch.no_grad():
            weight.fill_(value)
        average.update()
    with average.applied():
        assert float(weight.detach()) == pytest.approx(4.0)  # of 0, 4 and 8
    assert float(weight.detach()) == 8.0


@pytest.mark.parametrize("kind", ["none", "nt_asgd"])
def test_without_a_mean_the_weights_are_those_of_the_last_step(kind: str) -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    average = WeightAverage(TrainSettings(weight_averaging=kind), [weight])
    average.update()
    with average.applied():
        assert torch.equal(weight, torch.zeros(1))
    assert average.state() == {}


def test_the_mean_is_evaluated_and_kept(tmp_path: Path) -> None:
    data, settings = prepared("next", tmp_path)
    recorder = Recorder()
    run = tmp_path / "run"
    options = {**settings, "epochs": 2, "snapshots": True, "weight_averaging": "ema", "ema_decay": 0.9}
    ohlol.fit(data, out=run, callbacks=[recorder], **options)
    saved = read_tensors(run / "resume" / "last.safetensors")[0]
    _, _, network = load_model(run)
    assert recorder.epochs[-1].best
    for index, (name, weight) in enumerate(network.named_parameters()):
        assert torch.equal(weight, saved[f"average.{index}"])
        assert not torch.equal(weight, saved[f"model.{name}"])
    assert bytes_of(run / "snapshots")["00002.safetensors"] == (run / "model.safetensors").read_bytes()
    config, _, _ = load_model(run)
    assert config.metrics["loss"] == recorder.epochs[-1].metrics["loss"]


@pytest.mark.parametrize("kind", ["ema", "nt_asgd"])
def test_a_resumed_run_ends_with_the_same_bytes(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(averaging, "NON_MONOTONIC_EPOCHS", 0)
    data, settings = prepared("next", tmp_path)
    options = {**settings, **REGULARIZED, "weight_averaging": kind, "epochs": 6, "lr": 0.3, "lr_schedule": "constant"}
    whole = Recorder()
    ohlol.fit(data, out=tmp_path / "whole", callbacks=[whole], **options)
    assert whole.trainer is not None
    epoch = len(whole.trainer.batches(0))
    assert whole.trainer.average.steps > 0
    assert (whole.trainer.average.steps < whole.steps) == (kind == "nt_asgd")
    expected = bytes_of(tmp_path / "whole")
    for at in (1, epoch, 3 * epoch + 2, 5 * epoch + 1):

        def stop(recorder: Recorder, step: int, at: int = at) -> None:
            assert recorder.trainer is not None
            if step == at:
                recorder.trainer.stop()

        out = tmp_path / str(at)
        with pytest.raises(Interrupted):
            ohlol.fit(data, out=out, callbacks=[Recorder(stop)], **options)
        ohlol.fit(out=out, resume=True)
        found = bytes_of(out)
        for name in ("model.safetensors", "metrics.jsonl", "resume/last.safetensors"):
            assert found[name] == expected[name], (at, name)


def test_a_damaged_mean_is_refused() -> None:
    weight = torch.nn.Parameter(torch.zeros(2))
    average = WeightAverage(TrainSettings(weight_averaging="ema"), [weight])
    with pytest.raises(KeyError):
        average.load_state({}, 3, [])
    with pytest.raises(ValueError, match=r"average.0 is \(3,\)"):
        average.load_state({"average.0": torch.zeros(3)}, 3, [])


def test_a_decay_without_its_average_is_refused(tmp_path: Path) -> None:
    data, settings = prepared("next", tmp_path)
    with pytest.raises(InputError, match="`ema_decay` is a setting of `weight_averaging=ema`, which is not given"):
        ohlol.fit(data, ema_decay=0.9, **settings)
