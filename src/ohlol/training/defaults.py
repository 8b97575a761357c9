"""Defaults that follow the amount of data and the size of the model: epochs, patience, dropout."""

from collections.abc import Collection
from dataclasses import replace

from ohlol.checkpoint.run_config import RunConfig, build_meta_model
from ohlol.config import ModelSettings, TrainSettings
from ohlol.data.batches import Dataset
from ohlol.tasks import TASKS

MAX_SERIES_EPOCHS = 500
"""The most epochs for series of numbers with a target each: their archives have data sets of a few dozen."""
MAX_FACTOR = 6
"""How many times as many epochs as the default model a smaller one gets at most."""
PATIENCE_SHARE, MIN_PATIENCE = 1 / 3, 10
"""The default `patience`, as a share of the epochs and at least: with less, training ends before the learning rate fell
and a late improvement is missed (docs/log.md)."""


def choose_length(
    config: RunConfig, train: Dataset, chosen: Collection[str], *, has_validation_data: bool
) -> TrainSettings:
    """The training settings of a run with epochs and patience, where the user chose none.

    Args:
        config: the other settings of the run.
        train: the data that are trained on.
        chosen: the names of the settings that the user chose.
        has_validation_data: whether something was set apart, without which there is nothing to be patient for.
    """
    training = config.training
    if "epochs" not in chosen:
        training = replace(training, epochs=0 if training.minutes else _count_epochs(config, train))
    if "patience" in chosen:
        return training
    if training.minutes:  # the learning rate falls with the time
        return replace(training, patience=0)
    if "epochs" not in chosen and not training.patience and has_validation_data:
        return replace(training, patience=max(MIN_PATIENCE, round(PATIENCE_SHARE * training.epochs)))
    return training


def choose_dropout(config: RunConfig, train: Dataset, chosen: Collection[str]) -> ModelSettings:
    """The model of a run, without dropout where it is too small to overfit and the user chose none.

    Args:
        config: the settings of the run.
        train: the data that are trained on.
        chosen: the names of the settings of the model that the user chose.
    """
    least = TASKS[config.task].weights_per_step * train.steps
    if not least or not config.model.dropout or not {"dropout", "locked_dropout"}.isdisjoint(chosen):
        return config.model
    weights = sum(parameter.numel() for parameter in build_meta_model(config).parameters())
    return config.model if weights >= least else replace(config.model, dropout=0.0)


def _count_epochs(config: RunConfig, train: Dataset) -> int:
    """The epochs of the task, more for a model that is smaller than that of the task, and more for little data."""
    training, task = config.training, TASKS[config.task]
    model, _ = task.defaults(config.data.level or "")
    factor = _count_products(model, config.sizes.outputs) / _count_products(config.model, config.sizes.outputs)
    epochs = round(training.epochs * min(max(factor, 1.0), MAX_FACTOR))
    in_windows = task.trains_in_windows
    per_step = training.batch_size * training.bptt if in_windows else training.batch_size
    per_epoch = max(1, -(-(train.steps if in_windows else len(train)) // per_step))
    most = MAX_SERIES_EPOCHS if config.sizes.numeric and not task.targets.numeric else task.max_epochs
    return min(max(epochs, -(-task.min_steps // per_epoch)), most)


def _count_products(model: ModelSettings, outputs: int) -> int:
    """Multiplications of a step and one gate: of state and input of each layer, and of the head; a lookup has none."""
    H, D = model.hidden_size, 1 + model.bidirectional
    return D * H * (H + model.embedding_size + (model.num_layers - 1) * (H + D * H) + outputs)
