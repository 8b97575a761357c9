"""Settings are checked against their bounds, and errors name the setting."""

from dataclasses import replace
from typing import Any

import pytest

from ohlol.config import MAX_LAYERS, MAX_SIZE, ModelSettings, TrainSettings, check_bounds, parse_interval
from ohlol.utils.errors import InputError


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        ("hidden_size", (1, MAX_SIZE), (0, MAX_SIZE + 1)),
        ("num_layers", (1, MAX_LAYERS), (0, MAX_LAYERS + 1)),
        ("embedding_size", (0, 64), (-1,)),
        ("char_rnn_size", (0, 64), (-1,)),
        ("bigram_size", (0, 64), (-1,)),
        ("dropout", (0.0, 0.99), (1.0, -0.1)),
        ("word_dropout", (0.0, 0.99), (1.0, -0.1)),
        ("weight_dropout", (0.0, 0.99), (1.0, -0.1)),
    ],
)
def test_model_settings_have_bounds(name: str, inside: tuple[Any, ...], outside: tuple[Any, ...]) -> None:
    for value in inside:
        check_bounds(replace(ModelSettings(), **{name: value}), TrainSettings())
    for value in outside:
        with pytest.raises(InputError, match=f"^`{name}` is {value}; it must be "):
            check_bounds(replace(ModelSettings(), **{name: value}), TrainSettings())


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        ("epochs", (1,), (0,)),
        ("lr", (1e-9, 1.0), (0.0, float("inf"), float("nan"))),
        ("lr_schedule", ("constant", "onecycle"), ("step",)),
        ("loss_reduction", ("mean", "sum"), ("none",)),
        ("class_weights", ("none", "balanced"), ("some",)),
        ("on_nan", ("stop", "skip"), ("ignore",)),
        ("unk_probability", (0.0, 0.999), (1.0, -0.1)),
        ("max_grad_norm", (0.0, 1e9), (-1.0,)),
        ("activation_regularization", (0.0, 2.0), (-1.0, float("nan"), float("inf"))),
        ("temporal_activation_regularization", (0.0, 1.0), (-1.0, float("nan"), float("inf"))),
        ("weight_averaging", ("none", "ema", "nt_asgd"), ("swa",)),
        ("ema_decay", (0.0, 0.9999), (1.0, -0.1)),
        ("dev_fraction", (0.0, 0.5), (0.51,)),
        ("seed", (0, 2**63 - 1), (-1, 2**63)),
        ("checkpoint_every", ("200", "300s", "0s"), ("0", "-1", "5m", "", "1" * 10)),
    ],
)
def test_train_settings_have_bounds(name: str, inside: tuple[Any, ...], outside: tuple[Any, ...]) -> None:
    for value in inside:
        check_bounds(ModelSettings(), replace(TrainSettings(), **{name: value}))
    for value in outside:
        with pytest.raises(InputError, match=f"^`{name}` is "):
            check_bounds(ModelSettings(), replace(TrainSettings(), **{name: value}))


def test_an_interval_is_steps_or_seconds() -> None:
    assert parse_interval("200") == (200, None)
    assert parse_interval("300s") == (None, 300)


def test_the_default_of_unk_probability_is_exact() -> None:
    """A symbol seen once is read as <unk> with probability p, for which a = p / (1 - p) must be 0.25 to the bit."""
    p = TrainSettings().unk_probability
    assert p / (1 - p) == 0.25
