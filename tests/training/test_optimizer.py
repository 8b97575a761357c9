"""Optimizers and learning rate schedules."""

import math

import pytest
from helpers import Recorder

import ohlol
from ohlol.config import OPTIMIZERS, TrainSettings
from ohlol.training.optimizer import (
    ONECYCLE_END,
    ONECYCLE_RISE,
    ONECYCLE_START,
    PLATEAU_FACTOR,
    PLATEAU_PATIENCE,
    learning_rate,
)


def rates(schedule: str, total: int = 1000, warmup: int = 0) -> list[float]:
    settings = TrainSettings(lr=2.0, lr_schedule=schedule, warmup_steps=warmup)
    return [learning_rate(settings, step, total) for step in range(total)]


def test_constant_and_plateau_rates_are_constant() -> None:
    assert set(rates("constant")) == set(rates("plateau")) == {2.0}


def test_cosine_falls_to_zero() -> None:
    found = rates("cosine")
    assert found[0] == 2.0
    assert found[500] == pytest.approx(1.0)
    assert found[250] == pytest.approx(1 + math.sqrt(0.5))
    assert 0 < found[-1] < 1e-5
    assert found == sorted(found, reverse=True)


def test_onecycle_rises_and_falls() -> None:
    found = rates("onecycle")
    top = round(ONECYCLE_RISE * 1000)
    assert found[0] == pytest.approx(2 * ONECYCLE_START)
    assert found[top] == pytest.approx(2.0)
    assert found[: top + 1] == sorted(found[: top + 1])
    assert found[top:] == sorted(found[top:], reverse=True)
    assert 2 * ONECYCLE_END < found[-1] < 2 * ONECYCLE_END * 1.5


def test_warmup_rises_in_equal_steps() -> None:
    assert rates("constant", warmup_steps=4)[:6] == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]
    assert rates("cosine", warmup_steps=10)[20:] == rates("cosine")[20:]


def test_the_optimizer_uses_the_rates() -> None:
    recorder = Recorder()
    ohlol.fit(lr=0.1, lr_schedule="cosine", warmup_steps=2, epochs=6, callbacks=[recorder])
    settings = TrainSettings(lr=0.1, lr_schedule="cosine", warmup_steps=2)
    assert recorder.rates == [learning_rate(settings, step, 6) for step in range(6)]
    assert [epoch.lr for epoch in recorder.epochs] == recorder.rates


def test_plateau_halves_the_rate_without_improvement() -> None:
    recorder = Recorder()
    ohlol.fit(lr=1e-12, lr_schedule="plateau", epochs=8, callbacks=[recorder])  # too small a rate to change a float32
    stale = [epoch.number for epoch in recorder.epochs if not epoch.best]
    assert len(stale) > PLATEAU_PATIENCE
    expected, factor, behind = [], 1.0, 0
    for epoch in recorder.epochs:
        expected.append(1e-12 * factor)
        behind = 0 if epoch.best else behind + 1
        factor *= PLATEAU_FACTOR if behind > PLATEAU_PATIENCE else 1
    assert recorder.rates == pytest.approx(expected, rel=1e-12)
    assert recorder.rates[-1] < recorder.rates[0] / 8


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_each_optimizer_learns(optimizer: str) -> None:
    recorder = Recorder()
    lr = 0.3 if optimizer == "sgd" else 0.05
    ohlol.fit(optimizer=optimizer, lr=lr, epochs=40, head="softmax", seed=1, hidden_size=8, callbacks=[recorder])
    assert recorder.epochs[-1].loss < 0.2 < recorder.epochs[0].loss
