"""The search space: ranges as text, the defaults of each task, and invalid ranges."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohlol.config import ModelSettings, TrainSettings
from ohlol.tasks import TASKS
from ohlol.tuning.space import NOT_SEARCHED, OTHER_RANGES, Range, build_space, parse_range
from ohlol.utils.errors import InputError

CASES = [
    ("label", "word"),
    ("label", "char"),
    ("next", "char"),
    ("classify", "word"),
    ("forecast", "char"),
    ("next_row", "char"),
]


@pytest.mark.parametrize(("task", "level"), CASES)
def test_the_defaults_of_each_task_are_in_its_space(task: str, level: str) -> None:
    space = build_space([], {}, task, level)
    model, training = TASKS[task].defaults(level)
    both = vars(model) | vars(training)
    assert space.round(space.nearest(both)) == {name: both[name] for name in space.texts}
    assert {"cell", "hidden_size", "dropout", "lr"} <= set(space.texts)


def test_ranges_round_trip_through_text() -> None:
    for text in {text for task, level in CASES for text in TASKS[task].search_space(level)} | set(OTHER_RANGES):
        assert parse_range(parse_range(text).text) == parse_range(text)


@pytest.mark.parametrize("name", ["tuning.md", "tuning.zh.md"])
def test_the_page_lists_every_range(name: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / name).read_text(encoding="utf-8")
    for task, level in CASES:
        texts = TASKS[task].search_space(level)
        rows = [line for line in page.splitlines() if line.startswith(f"| `{task}`")]
        assert any(all(f"`{text}`" in row for text in texts) for row in rows)
    assert all(f"`{text}`" in page for text in OTHER_RANGES)


def test_every_kind_of_range_is_parsed() -> None:
    assert parse_range("cell=gru, lstm").choices == ("gru", "lstm")
    assert parse_range("--bidirectional=no,true").choices == (False, True)
    assert parse_range("embedding_size=onehot,64").choices == (0, 64)
    assert parse_range("num_layers=1:3").values == (1, 2, 3)
    assert parse_range("hidden_size=32:60:8").values == (32, 40, 48, 56)  # the end is the last value of the range
    assert parse_range("dropout=0:0.3:0.1").values == (0.0, 0.1, 0.2, 0.3)
    assert parse_range("hidden_size=32:256:log").log
    assert parse_range("lr=1e-4:1e-2:log").values is None
    assert parse_range("lr=0.00012345678,0.1").text == "lr=0.00012345678,0.1"


@given(st.floats(1e-6, 1.0), st.floats(1.5, 100.0), st.sampled_from(["", ":log"]), st.floats(0, 1))
def test_positions_and_values_round_trip(low: float, ratio: float, log: str, place: float) -> None:
    one = parse_range(f"lr={low!r}:{low * ratio!r}{log}")
    value = one.from_unit(place)
    assert isinstance(value, float)
    assert one.low * 0.99 <= value <= one.high * 1.01  # rounded to three digits
    assert value == one.round(value) == float(f"{value:.3g}")
    assert one.to_unit(value) == pytest.approx(place, abs=0.03)


@given(st.integers(1, 500), st.integers(1, 500), st.integers(1, 60), st.integers(1, 1000))
def test_the_nearest_value_is_one_of_the_range(low: int, length: int, step: int, value: int) -> None:
    one = parse_range(f"hidden_size={low}:{low + max(length, step)}:{step}")
    assert one.values is not None
    found = one.nearest(value)
    assert found in one.values
    assert abs(int(found) - value) == min(abs(int(v) - value) for v in one.values)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("colour=red", "'colour' is not a setting that can be searched; there are cell, loop, hidden_size"),
        ("seed=1:3", "'seed' is not a setting that can be searched"),
        ("lr=", "'' is not a number"),
        ("lr=a:b", "'a' is not a number"),
        ("lr=nan:1", "'nan' is not a number"),
        ("lr=1:0.1", "1 is not below 0.1"),
        ("lr=0:1:log", "starts above 0"),
        ("lr=1:2:3:4", "a range is LOW:HIGH, LOW:HIGH:STEP or LOW:HIGH:log"),
        ("lr=1:2:5", "the step must be above 0 and at most 1"),
        ("hidden_size=1.5:3", "'1.5' is not an integer"),
        ("hidden_size=0:3", "`hidden_size` is 0; it must be at least 1"),
        ("cell=gru,elman", "`cell` is 'elman'; it must be one of"),
        ("optimizer=1:2", "its values are not numbers; give choices"),
        ("cell=gru,gru", "a choice occurs twice"),
        ("tie_weights=maybe", "'maybe' is neither yes nor no"),
        ("dropout=0:1", r"`dropout` is 1.0; it must be in \[0, 1\)"),
        ("unk_probability=0:0.5", "without <unk> other symbols are evaluated"),
        ("warmup_steps", "warmup_steps: it has no default range; give warmup_steps=LOW:HIGH or warmup_steps=A,B"),
    ],
)
def test_invalid_ranges_are_refused(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        build_space([text], {}, "label", "char")
    assert "\n" not in str(error.value)


def test_chosen_options_are_not_searched() -> None:
    assert "lr" not in build_space([], {"lr": 0.1}, "next", "char").texts
    assert "num_layers" not in build_space([], {"cell": "gru", "loop": True}, "next", "char").texts
    with pytest.raises(
        InputError, match=r"`lr` is 0\.1 in all trials, so it cannot be searched; leave it out of `search`"
    ):
        build_space(["lr", "cell"], {"lr": 0.1}, "next", "char")
    with pytest.raises(InputError, match="`search` has `lr` twice"):
        build_space(["lr", "lr=1:2"], {}, "next", "char")
    every = vars(ModelSettings()) | vars(TrainSettings())
    with pytest.raises(InputError, match="nothing is left to search"):
        build_space([], every, "next", "char")


def test_a_name_alone_uses_the_range_of_the_task() -> None:
    space = build_space(["lr", "batch-size", "cell"], {}, "forecast", "char")
    assert space.texts["cell"] == "cell=rnn,gru,lstm"
    assert list(space.texts) == ["cell", "batch_size", "lr"]  # in the order of the settings
    assert space.size is None


def test_all_settings_of_a_finite_space() -> None:
    space = build_space(["cell=gru,lstm", "num_layers=1:3"], {}, "label", "char")
    assert space.size == 6
    assert len({tuple(one.values()) for one in space.enumerate()}) == 6
    assert not set(NOT_SEARCHED) & set(space.texts)
    assert Range("cell", choices=("gru",)).nearest("lstm") == "gru"


@pytest.mark.parametrize(
    "text",
    [
        "hidden_size=1:99999999999999999999",
        "hidden_size=1:" + "9" * 5000,
        "hidden_size=8,99999999999999999999",
        "hidden_size=1:100:99999999999999999999",
        "batch_size=1:99999999999999999999:log",
        "lr=1e-4:1e999",
        "lr=1e-300:1e-4:1e-320",
    ],
)
def test_a_number_out_of_bounds_is_reported_in_one_line(text: str) -> None:
    with pytest.raises(InputError) as refused:
        parse_range(text)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 600
