"""Defaults that follow the data and the model: epochs, patience, dropout, and a budget of minutes."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers import TINY, Recorder, bytes_of, names_file, prepared, sine_file, text_file, upper_pairs
from untrained import untrained

import ohlol
from ohlol.checkpoint.run_config import build_meta_model
from ohlol.config import ModelSettings, TrainSettings
from ohlol.tasks import TASKS
from ohlol.training.defaults import (
    MAX_FACTOR,
    MAX_SERIES_EPOCHS,
    MIN_PATIENCE,
    PATIENCE_SHARE,
    choose_dropout,
    choose_length,
)
from ohlol.training.fit import fit
from ohlol.training.optimizer import learning_rate
from ohlol.training.trainer import Interrupted, Trainer
from ohlol.tuning.search import tune
from ohlol.utils.errors import InputError

LABEL = TASKS["label"]


class Rows:
    """Data of some sequences with ten steps each."""

    def __init__(self, count: int):
        self.count, self.steps = count, 10 * count

    def __len__(self) -> int:
        return self.count


def length(
    kind: str = "label",
    rows: int = 10**6,
    chosen: tuple[str, ...] = (),
    dev: bool = True,
    minutes: float = 0,
    **model: Any,
) -> TrainSettings:
    config = untrained(kind).config
    settings, training = TASKS[config.task].defaults(config.data.level or "")
    config = replace(config, model=replace(settings, **model), training=replace(training, minutes=minutes))
    return choose_length(config, Rows(rows), chosen, has_validation_data=dev)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("kind", ["label", "words", "next", "classify", "classify rows", "next_row"])
def test_the_default_model_has_the_epochs_of_its_task(kind: str) -> None:
    config = untrained(kind).config
    expected = TASKS[config.task].defaults(config.data.level or "")[1].epochs
    assert length(kind).epochs == expected
    assert length(kind, hidden_size=1000, num_layers=3).epochs == expected


def test_a_smaller_model_has_more_epochs_for_the_same_work() -> None:
    epochs = TASKS["next"].defaults("char")[1].epochs
    counts = [length("next", hidden_size=size).epochs for size in (512, 448, 384, 320, 256, 128, 32)]
    assert counts == sorted(counts)
    outputs = untrained("next").config.sizes.outputs
    assert counts[4] == round(epochs * 512 * (512 + 64 + outputs) / (256 * (256 + 64 + outputs)))
    assert counts[-1] == counts[-2] == MAX_FACTOR * epochs
    assert length("next", hidden_size=256, embedding_size=0).epochs > counts[4]  # a one-hot input is looked up
    assert length("next", hidden_size=256, num_layers=2).epochs < counts[4]
    assert length("next", hidden_size=32, chosen=("epochs",)).epochs == epochs
    assert length("label", hidden_size=2).epochs <= LABEL.max_epochs


def test_little_data_have_a_least_number_of_steps() -> None:
    assert length("classify", rows=64 * 50).epochs == LABEL.min_steps // 50
    assert length("classify", rows=64).epochs == LABEL.max_epochs
    assert length("classify rows", rows=16).epochs == MAX_SERIES_EPOCHS
    assert length("next", rows=32 * 64 * 5).epochs == LABEL.min_steps // 50  # ten steps a row


def test_patience_is_a_share_of_the_epochs_where_data_were_set_apart() -> None:
    assert length("label").patience == MIN_PATIENCE
    assert length("label", rows=32).patience == round(PATIENCE_SHARE * LABEL.max_epochs)
    assert length("label", dev=False).patience == 0
    assert length("label", chosen=("patience",)).patience == 0
    assert length("label", chosen=("epochs",)).patience == 0  # whoever chose them gets them
    assert TASKS["forecast"].defaults("")[1].patience > 0  # a task may have its own


@pytest.mark.parametrize("kind", ["next", "label"])
def test_a_model_too_small_to_overfit_has_no_dropout(kind: str) -> None:
    config, task = untrained(kind).config, TASKS[kind]
    config = replace(config, model=replace(config.model, dropout=0.3))
    weights = sum(parameter.numel() for parameter in build_meta_model(config).parameters())
    little, much = Rows(weights // 10), Rows(weights)  # ten steps a row

    def dropout(rows: Rows, *chosen: str) -> float:
        return choose_dropout(config, rows, chosen).dropout  # pyright: ignore[reportArgumentType]

    assert dropout(little) == 0.3
    assert dropout(much) == (0.0 if task.weights_per_step else 0.3)
    assert dropout(much, "dropout") == dropout(much, "hidden_size", "locked_dropout") == 0.3
    assert choose_dropout(replace(config, model=replace(config.model, dropout=0.0)), little, ()).dropout == 0  # pyright: ignore


def test_a_run_records_the_dropout_that_it_had(tmp_path: Path) -> None:
    text = text_file(tmp_path / "text.txt")
    settings = {**TINY, "task": "next", "format": "text", "hidden_size": 2, "embedding_size": 0}
    assert TASKS["next"].defaults("char")[0].dropout > 0
    long = tmp_path / "long.txt"
    long.write_text(text.read_text() * 40)
    assert ohlol.fit(long, **settings).config.model.dropout == 0
    assert ohlol.fit(long, dropout=0.2, **settings).config.model.dropout == 0.2


def test_minutes_leave_the_epochs_open() -> None:
    found = length("label", minutes=2.5)
    assert (found.epochs, found.patience) == (0, 0)
    assert length("label", minutes=2.5, chosen=("epochs",)).epochs == TASKS["label"].defaults("char")[1].epochs


def test_training_on_pairs_of_the_tutorial_keeps_its_length() -> None:
    training = ohlol.fit().config.training
    assert (training.epochs, training.patience) == (20, 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "`epochs` is 0; it must be at least 1"),
        ({"minutes": -1.0}, "`minutes` is -1.0; it must be at least 0"),
        ({"minutes": 1e9}, "`minutes` is 1000000000.0; it must be at most 527040"),
        ({"minutes": math.nan}, "`minutes` is nan"),
        ({"minutes": "long"}, "`minutes` is 'long'; it must be a number"),
    ],
)
def test_wrong_lengths_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ohlol.fit([("hello", "ohlol")], **settings)


def test_tune_refuses_minutes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^`minutes` makes the result depend on the clock"):
        tune(names_file(tmp_path / "n.csv"), trials=1, out=tmp_path / "study", minutes=1.0, input="name", target="kind")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step takes two seconds."""
    monkeypatch.setattr(Trainer, "_seconds", property(lambda self: 2.0 * (self.progress.step + 1)))


@pytest.mark.usefixtures("clock")
def test_the_learning_rate_falls_with_the_time(tmp_path: Path) -> None:
    recorder = Recorder()
    settings = {name: value for name, value in TINY.items() if name != "epochs"}
    model = ohlol.fit(upper_pairs(tmp_path / "p.tsv"), callbacks=[recorder], minutes=0.9, **settings)
    assert recorder.trainer is not None
    training = model.config.training
    assert (training.epochs, training.patience) == (0, 0)
    per_epoch = recorder.epochs[0].step
    used = [2.0 * (step + (step > 0 and step % per_epoch == 0)) for step in range(len(recorder.rates))]
    assert recorder.rates == [learning_rate(training, step, 0, seconds) for step, seconds in enumerate(used)]
    assert recorder.rates[0] == training.lr
    assert recorder.rates == sorted(recorder.rates, reverse=True)
    assert len(recorder.rates) == 27
    assert recorder.epochs[-1].step == 27
    assert 27 % per_epoch  # the last epoch is shorter
    assert recorder.epochs[-1].number == -(-27 // per_epoch)


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(("minutes", "steps"), [(100.0, 18), (0.4, 12)])
def test_epochs_and_minutes_end_with_the_first_of_them(tmp_path: Path, minutes: float, steps: int) -> None:
    recorder = Recorder()
    ohlol.fit(upper_pairs(tmp_path / "p.tsv"), callbacks=[recorder], minutes=minutes, **TINY)
    assert recorder.steps == steps
    assert recorder.rates[-1] < 0.1 * recorder.rates[0]


def test_the_share_of_steps_or_time_decides() -> None:
    settings = TrainSettings(lr=1.0, lr_schedule="cosine", minutes=1.0)
    assert learning_rate(settings, 50, 100, 12.0) == pytest.approx(0.5)
    assert learning_rate(settings, 20, 100, 30.0) == pytest.approx(0.5)
    assert learning_rate(settings, 20, 0, 30.0) == pytest.approx(0.5)
    assert learning_rate(settings, 20, 0, 90.0) == 0.0


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("step", [1, 6, 7, 29])
def test_a_resumed_run_uses_the_time_that_is_left(tmp_path: Path, step: int) -> None:
    data, settings = prepared("label", tmp_path)
    settings = {**settings, "minutes": 0.5}
    del settings["epochs"]
    ohlol.fit(data, out=tmp_path / "whole", **settings)
    stopping = Recorder(lambda recorder, now: recorder.trainer.stop() if now == step else None)  # pyright: ignore
    if step < 15:
        with pytest.raises(Interrupted):
            fit(data, out=tmp_path / "parts", callbacks=[stopping], **settings)
        fit(out=tmp_path / "parts", resume=True)
    else:
        fit(data, out=tmp_path / "parts", callbacks=[stopping], **settings)
    whole, parts = (bytes_of(tmp_path / name) for name in ("whole", "parts"))
    assert whole["model.safetensors"] == parts["model.safetensors"]
    assert whole["metrics.jsonl"] == parts["metrics.jsonl"]
    assert json.loads(parts["config.json"])["training"]["minutes"] == 0.5
    with pytest.raises(InputError, match=r"was started with `minutes` 0\.5, not 1\.0; `resume` keeps it"):
        fit(out=tmp_path / "parts", resume=True, minutes=1.0)


@pytest.mark.parametrize("write", [text_file, sine_file])
def test_a_run_without_minutes_does_not_record_time(tmp_path: Path, write: Any) -> None:
    recorder = Recorder()
    ohlol.fit(write(tmp_path / "data.csv"), callbacks=[recorder], task="next" if write is text_file else "next_row",
              format="text" if write is text_file else "columns", **TINY)  # fmt: skip
    assert recorder.trainer is not None
    assert recorder.trainer.progress.seconds == 0


def test_late_vectors_begin_in_the_second_half_of_the_time() -> None:
    trainer: Any = object.__new__(Trainer)
    trainer.config = replace(untrained("label").config, model=ModelSettings(vectors_training="late"))
    for epochs, minutes, epoch, seconds, frozen in (
        (4, 0.0, 1, 0.0, True),
        (4, 0.0, 2, 0.0, False),
        (0, 1.0, 9, 29.0, True),
        (0, 1.0, 0, 31.0, False),
        (4, 1.0, 1, 31.0, False),
        (4, 1.0, 2, 1.0, False),
    ):
        trainer.settings = TrainSettings(epochs=epochs, minutes=minutes)
        trainer.progress = type("Progress", (), {"epoch": epoch, "seconds": seconds})
        assert trainer._vectors_are_frozen is frozen
