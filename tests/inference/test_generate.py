"""Generated text: repeatable by its seed, the same from the kernel and from Python, drawn by probability."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import TINY, text_file

import ohlol
from ohlol.inference.trained_model import TrainedModel
from ohlol.ops import available
from ohlol.ops.stepping import sample, uniform
from ohlol.utils.errors import InputError


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    path: Path = tmp_path_factory.mktemp("text") / "text.txt"
    return ohlol.fit(text_file(path), bptt=10, **{**TINY, "hidden_size": 24, "lr": 0.03, "epochs": 8})


def generate(model: TrainedModel, **options: Any) -> str:
    return "".join(model.generate("the ", **{"length": 60, **options}))


def test_the_same_seed_generates_the_same_text(text: TrainedModel) -> None:
    assert generate(text, seed=3) == generate(text, seed=3)
    assert generate(text, seed=3) != generate(text, seed=4)
    assert generate(text) != generate(text)
    assert len(generate(text, length=17)) == 17
    assert generate(text, length=0) == ""


def test_temperature_0_selects_the_most_probable(text: TrainedModel) -> None:
    best = generate(text, temperature=0)
    assert best == generate(text, temperature=0, seed=9)
    assert best == generate(text, top_k=1, seed=1) == generate(text, top_p=1e-9, seed=2)
    assert best.startswith("cat ")  # the text repeats itself, so the most probable symbols are the text
    assert generate(text, temperature=100.0, seed=1) != best


def test_the_state_equals_that_of_the_whole_text(text: TrainedModel) -> None:
    symbols = list("the cat")
    for symbol in text.generate("the cat", length=12, temperature=0):
        assert [symbol] == list(text.generate(symbols, length=1, temperature=0))
        symbols.append(symbol)


def test_an_empty_prompt_is_a_line_end(text: TrainedModel) -> None:
    assert "".join(text.generate(length=8, temperature=0)) == "".join(text.generate("\n", length=8, temperature=0))


def test_unk_is_never_generated(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("a b a b once a b a b twice never\n" + "a b a b\n" * 5)
    model = ohlol.fit(path, level="word", bptt=5, **TINY)
    assert model.codec.symbols is not None
    assert model.codec.symbols.unk == 0
    words = list(model.generate("a", length=300, temperature=5.0, seed=0))
    assert "<unk>" not in words
    assert set(words) == {"a", "b", "\n"}
    assert len(list(model.generate("unheard of", length=2))) == 2


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("temperature", -1.0),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("top_k", -1),
        ("top_p", 0.0),
        ("top_p", 1.5),
        ("length", -1),
        ("seed", -1),
        ("seed", 1 << 64),
    ],
)
def test_settings_out_of_range_are_refused(text: TrainedModel, setting: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"^`{setting}` is {value}; it must be "):
        text.generate("the", **{setting: value})


def test_an_unreadable_prompt_is_refused(tmp_path: Path) -> None:
    closed = ohlol.fit(text_file(tmp_path / "closed.txt"), unk_probability=0.0, bptt=10, **TINY)
    with pytest.raises(InputError, match="`prompt`: symbol 'Z' was not seen in training"):
        list(closed.generate("Z"))


@pytest.mark.skipif(not available(), reason="the compiled kernels are not installed")
@pytest.mark.parametrize(
    "model",
    [
        {"cell": "lstm", "num_layers": 2},
        {"cell": "gru"},
        {"cell": "rnn", "embedding_size": 0},
        {"cell": "lstm", "tie_weights": True},
    ],
)
def test_kernel_and_python_generate_the_same(
    model: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**TINY, "hidden_size": 6, "embedding_size": 6, "num_layers": 1, "bptt": 10, **model}
    text = ohlol.fit(text_file(tmp_path / "text.txt"), **settings)
    options: list[dict[str, Any]] = [
        {"temperature": 0.7},
        {"temperature": 0.0},
        {"top_k": 3},
        {"top_p": 0.8, "temperature": 1.3},
    ]
    by_kernel = ["".join(text.generate("the ", length=100, seed=5, **option)) for option in options]
    monkeypatch.setattr(type(text.network), "make_sequence_stepper", lambda self, *excluded: None)
    assert by_kernel == ["".join(text.generate("the ", length=100, seed=5, **option)) for option in options]


LOGITS = torch.log(torch.tensor([0.05, 0.5, 0.15, 0.3]))


def sampled_frequencies(temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, draws: int = 4000) -> list[float]:
    ids = [sample(LOGITS, uniform(0, number), temperature, top_k, top_p) for number in range(draws)]
    return [ids.count(id) / draws for id in range(4)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0.05, 0.5, 0.15, 0.3]),
        ({"top_k": 2}, [0, 0.625, 0, 0.375]),
        ({"top_k": 1}, [0, 1, 0, 0]),
        ({"top_k": 99}, [0.05, 0.5, 0.15, 0.3]),
        ({"top_p": 0.5}, [0, 1, 0, 0]),
        ({"top_p": 0.51}, [0, 0.625, 0, 0.375]),
        ({"top_p": 0.9}, [0, 10 / 19, 3 / 19, 6 / 19]),
        ({"top_k": 3, "top_p": 0.6}, [0, 0.625, 0, 0.375]),
        ({"temperature": 0.5}, [0.0025 / 0.365, 0.25 / 0.365, 0.0225 / 0.365, 0.09 / 0.365]),
        ({"temperature": 0.0}, [0, 1, 0, 0]),
    ],
)
def test_symbols_are_drawn_by_their_probabilities(options: dict[str, Any], expected: list[float]) -> None:
    frequencies = sampled_frequencies(**options)
    assert frequencies == pytest.approx(expected, abs=0.03)
    assert [frequency > 0 for frequency in frequencies] == [probability > 0 for probability in expected]
