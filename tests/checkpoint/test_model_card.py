"""The model card describes the model, its training and evaluation data, and its use."""

from dataclasses import replace
from pathlib import Path

import pytest
from untrained import KINDS, untrained

from ohlol.checkpoint.model_card import format_model_card
from ohlol.checkpoint.run_config import RunConfig
from ohlol.tasks import TASKS

RUN = Path("runs/one")


@pytest.fixture
def config() -> RunConfig:
    return untrained("label").config


def card(config: RunConfig, *, has_validation_data: bool = False, device: str = "") -> str:
    return format_model_card(config, 12345, RUN, has_validation_data=has_validation_data, device=device)


@pytest.mark.parametrize("kind", KINDS)
def test_a_card_names_the_model_and_its_use(kind: str) -> None:
    config = untrained(kind).config
    text = card(config)
    assert text.startswith("# one\n")
    assert f"for the task `{config.task}`: {config.model.cell}, " in text
    assert "12,345 parameters" in text
    source = "FILE" if config.sizes.numeric else '"TEXT"'
    assert TASKS[config.task].usage.format(run=RUN, input=source) in text
    for name in ("hidden_size", "lr", "epochs"):
        value = getattr(config.model, name, None) or getattr(config.training, name)
        assert f"| {name.replace('_', ' ')} | {value} |" in text


def test_the_card_names_the_sources_of_the_data(config: RunConfig) -> None:
    assert "- trained on: elsewhere: its weights were imported" in card(config)
    assert "- measured on: nothing yet" in card(config)
    pairs = replace(config, pairs=(("a", "b"),))
    assert "- trained on: pairs given on the command line" in card(pairs)
    assert "- measured on: the training data" in card(pairs)
    files = replace(config, train_files=("a.tsv", "b.tsv"))
    assert "- trained on: a.tsv, b.tsv" in card(files)
    fraction = config.training.dev_fraction
    assert f"- measured on: a share of {fraction:g} set apart" in card(files, has_validation_data=True)
    assert "- measured on: dev.tsv" in card(replace(files, dev_file="dev.tsv"), has_validation_data=True)


def test_the_card_names_the_device_and_the_metrics(config: RunConfig) -> None:
    assert "computed by" not in card(config)
    assert "best weights: none" in card(config)
    text = card(replace(config, metrics={"accuracy": 0.5, "loss": 0.25}), device="cuda Card 0")
    assert "- computed by: cuda Card 0\n" in text
    assert "best weights: accuracy 50.00 %  loss 0.2500" in text
