"""The model card describes the model, its training and evaluation data, and its use."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from forecasts import DAY, START
from untrained import KINDS, untrained

from ohlol.checkpoint.model_card import format_model_card
from ohlol.checkpoint.run_config import RunConfig
from ohlol.data.codec import Codec
from ohlol.data.codec_json import codec_from_json, codec_to_json
from ohlol.data.panel import Panel, PanelColumns, TimeSeries, TimeStep
from ohlol.data.panel_codec import PanelCodec
from ohlol.data.vocab import Vocab
from ohlol.tasks import TASKS
from ohlol.utils.errors import InputError

RUN = Path("runs/one")


@pytest.fixture
def config() -> RunConfig:
    return untrained("label").config


def card(config: RunConfig, codec: Codec | None = None, *, has_validation_data: bool = False, device: str = "") -> str:
    codec = codec or untrained("label").codec
    return format_model_card(config, codec, 12345, RUN, has_validation_data=has_validation_data, device=device)


def section(text: str, heading: str) -> list[str]:
    """The lines of a section that are not empty."""
    return [line for line in text.split(f"## {heading}\n")[1].split("\n## ")[0].splitlines() if line]


def panel_codec(columns: PanelColumns, step: TimeStep = DAY, held_out: int = 0) -> Codec:
    """The codec of two series, of one column of numbers for each name, with the statics of the first column."""
    days = np.arange(20.0)
    rows = np.stack([10 * (i + 1) + days for i in range(len(columns.numeric))], axis=1)
    start = START if step.unit else None
    series = tuple(
        TimeSeries(name, rows, start, statics=(f"the {name}|",) * len(columns.static)) for name in ("north", "south")
    )
    return Codec.of_panel("forecast", PanelCodec.fit(Panel(series, columns, step, 7), 3, [held_out] * 2))


@pytest.mark.parametrize("kind", KINDS)
def test_a_card_names_the_model_and_its_use(kind: str) -> None:
    model = untrained(kind)
    config = model.config
    text = card(config, model.codec)
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


def test_the_card_says_how_files_are_read(config: RunConfig) -> None:
    data = replace(config.data, target="a|b", static="_region_", decimal=",", encoding="gb18030", header=False, time="")
    lines = section(card(replace(config, data=data)), "Data")
    assert lines[3:10] == [
        "| format | pairs |",
        "| level | char |",
        r"| target | a\|b |",
        "| header | False |",
        "| decimal | , |",
        "| encoding | gb18030 |",
        r"| static | \_region\_ |",
    ]


def test_the_card_of_a_forecast_has_columns_ranges_period_and_limits(config: RunConfig) -> None:
    columns = PanelColumns(("sales",), ("price",), ("rain",), ("region",))
    text = card(config, panel_codec(columns, held_out=4))
    start = section(text, "Data").index("| part | content |")
    assert section(text, "Data")[start + 2 :] == [
        "| target sales | 10 to 25 |",
        "| known price | mean 27.5, standard deviation 4.60977 |",
        "| observed rain | mean 37.5, standard deviation 4.60977 |",
        r"| static region | 2: the north\|, the south\| |",
        "| series | 2 |",
        "| step | daily |",
        "| season | 7 steps |",
        "| horizon | 3 steps |",
        "| period | 2024-01-01 to 2024-01-16 |",
    ]
    limits = section(text, "Limits")
    for words in ("another step (daily)", "far outside of the ranges", "`--future FILE`", "read as none of them"):
        assert sum(words in line for line in limits) == 1, words
    assert any("beyond the horizon of 3" in line for line in limits)
    assert any("after 2024-01-16" in line for line in limits)


def test_the_card_of_counted_rows_without_covariates_names_neither(config: RunConfig) -> None:
    text = card(config, panel_codec(PanelColumns(("sales",)), TimeStep()))
    assert "| step | rows are counted |" in text
    for words in ("period", "known columns", "category", " after "):
        assert words not in text, words


def test_the_card_lists_labels_and_names_the_rare_ones(config: RunConfig) -> None:
    labels = Vocab(tuple(f"L{n:02}" for n in range(40)), (9, *[10] * 39))
    lines = section(card(config, replace(untrained("classify").codec, labels=labels)), "Data")
    assert any(line.startswith("| labels | 40: L00, L01, ") and line.endswith(", L29 and 10 more |") for line in lines)
    limits = section(card(config, replace(untrained("classify").codec, labels=labels)), "Limits")
    assert "- Labels that occur less than 10 times in the training data have few examples: L00." in limits


@pytest.mark.parametrize(
    ("task", "words"), [("classify", "is always one of the labels"), ("multilabel", "is a set of the labels")]
)
def test_the_card_says_what_a_prediction_can_be(config: RunConfig, task: str, words: str) -> None:
    limits = section(card(config, replace(untrained("classify").codec, task=task)), "Limits")
    assert [line for line in limits if f"A prediction {words}" in line]


@pytest.mark.parametrize(("unknowns", "words"), [(True, "is read as unknown"), (False, "is refused")])
def test_the_card_says_what_happens_to_new_symbols(config: RunConfig, unknowns: bool, words: str) -> None:
    codec = untrained("label", unknowns=unknowns).codec
    assert "| symbols | 8 different ones |" in card(config, codec)
    assert any(f"do not hold {words}" in line for line in section(card(config, codec), "Limits"))


def test_the_period_of_a_panel_is_saved_with_it() -> None:
    codec = panel_codec(PanelColumns(("sales",)), held_out=1)
    assert codec.panel is not None
    assert codec.panel.period == ("2024-01-01", "2024-01-19")
    data = json.loads(json.dumps(codec_to_json(codec)))
    assert codec_from_json(data) == codec
    data["panel"]["period"] = ["2024-01-01"]
    with pytest.raises(InputError):
        codec_from_json(data)
    del data["panel"]["period"]
    assert codec_from_json(data).panel == replace(codec.panel, period=None)
