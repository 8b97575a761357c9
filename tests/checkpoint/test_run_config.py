"""The configuration of a run as JSON, and the sizes and shapes that follow from it."""

import json
from dataclasses import asdict, replace
from typing import Any

import pytest
from untrained import KINDS, untrained

from ohlol.checkpoint.run_config import RunConfig, build_meta_model, sizes_from_codec
from ohlol.models.inputs import Sizes
from ohlol.utils.errors import InputError
from ohlol.utils.files import FORMAT


@pytest.fixture
def config() -> RunConfig:
    return untrained("label").config


@pytest.mark.parametrize("kind", KINDS)
def test_a_configuration_is_read_as_it_was_written(kind: str) -> None:
    config = replace(untrained(kind).config, train_files=("a.tsv", "b.tsv"), dev_file="c.tsv", metrics={"loss": 0.5})
    data = json.loads(json.dumps(config.to_json()))
    assert data["format"] == FORMAT
    assert RunConfig.from_json(data) == config


def test_the_sources_are_named(config: RunConfig) -> None:
    assert config.files == "the pairs"
    assert replace(config, train_files=("a", "b"), dev_file="c").files == "a, b, c"


@pytest.mark.parametrize(
    ("part", "value", "reason"),
    [
        ("format", FORMAT + 1, rf"config.json has format {FORMAT + 1}; this version of ohlol \(.*\) reads {FORMAT}"),
        ("task", "cook", "`task` is 'cook'"),
        ("metrics", {"loss": "low"}, "could not convert string to float"),
        ("metrics", [], "has no attribute 'items'"),
        ("pairs", [["a", "b", "c"]], "too many values"),
        ("model", {"colour": "red"}, r"ModelSettings has no setting \['colour'\]"),
        ("sizes", None, "is not a configuration of ohlol"),
    ],
)
def test_another_content_is_refused(config: RunConfig, part: str, value: Any, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        RunConfig.from_json({**config.to_json(), part: value})


@pytest.mark.parametrize("data", [None, [], "config", 3])
def test_another_type_is_refused(data: Any) -> None:
    with pytest.raises(InputError, match=r"config\.json has format"):
        RunConfig.from_json(data)


@pytest.mark.parametrize(("name", "value"), [("hidden_size", "8"), ("hidden_size", 8.5), ("bidirectional", 1)])
def test_a_setting_of_another_type_is_refused(config: RunConfig, name: str, value: Any) -> None:
    data = config.to_json()
    data["model"] = {**data["model"], name: value}
    with pytest.raises(InputError, match=f"{name} is {value!r}, not "):
        RunConfig.from_json(data)


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_are_those_of_the_vocabulary(kind: str) -> None:
    model = untrained(kind)
    assert sizes_from_codec(model.codec) == model.config.sizes
    assert RunConfig.from_json(model.config.to_json()).sizes == Sizes(**asdict(model.config.sizes))


@pytest.mark.parametrize("kind", KINDS)
def test_a_meta_model_has_shapes_and_no_memory(kind: str) -> None:
    model = untrained(kind)
    meta = build_meta_model(model.config)
    assert {k: v.shape for k, v in meta.state_dict().items()} == {
        k: v.shape for k, v in model.network.state_dict().items()
    }
    assert all(parameter.is_meta for parameter in meta.parameters())
