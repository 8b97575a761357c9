"""A neuron constructed to track a feature is detected, and none in noise."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import CELLS, LOOP, TINY, cell_settings, text_file, upper_pairs

import ohlol
from ohlol.cli import main
from ohlol.explain.neurons import (
    Neuron,
    NeuronStates,
    features,
    find_neurons,
    find_passages,
    match_range,
    record_states,
)
from ohlol.explain.trace import trace
from ohlol.inference.trained_model import TrainedModel
from ohlol.utils.errors import InputError

TEXT = 'He said "go (now)" and 12 left.\nThen "stop" [he] said at 7.\n' * 12


def make_states(**tracked: int) -> NeuronStates:
    """Noise, and neurons that follow a feature; names have _ for spaces."""
    random = np.random.default_rng(3)
    values = random.normal(size=(len(TEXT), 40)).astype(np.float32)
    rows = features(TEXT)
    for name, k in tracked.items():
        values[:, k] = -2 * rows[name.replace("_", " ")] + 0.05 * values[:, k]
    return NeuronStates(tuple(TEXT), tuple(Neuron(0, "forward", "h", k) for k in range(40)), values)


@pytest.mark.parametrize("feature", features("a"))
def test_each_feature_is_detected(feature: str) -> None:
    best = {f.feature: f for f in find_neurons(make_states(**{feature.replace(" ", "_"): 17}))}
    assert best[feature].neuron.index == 17
    assert best[feature].r < -0.98
    assert best[feature].r_selection < -0.98


def test_noise_tracks_nothing() -> None:
    found = find_neurons(make_states())
    assert len(found) == len(features(TEXT))
    assert max(abs(f.r) for f in found) < 0.25
    # the best of 40 noise neurons has a higher correlation on the half that selected it
    assert np.mean([abs(f.r_selection) for f in found]) > np.mean([abs(f.r) for f in found])


def test_a_rare_feature_is_left_out() -> None:
    states = make_states()
    few = NeuronStates(("A", *("b" * (len(TEXT) - 1))), states.neurons, states.values)
    assert "upper case" not in [f.feature for f in find_neurons(few)]


def test_features_computed_by_hand() -> None:
    rows = features('A "b(c)" d\n4')
    assert rows["inside quotes"].astype(int).tolist() == [0, 0, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0]
    assert rows["inside brackets"].astype(int).tolist() == [0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0]
    assert rows["position in the line"].astype(int).tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0, 1]
    assert rows["position in the word"].astype(int).tolist() == [1, 0, 1, 2, 3, 4, 5, 6, 0, 1, 0, 1]
    assert rows["upper case"].astype(int).tolist() == [1] + [0] * 11
    assert rows["a digit"].astype(int).tolist() == [0] * 11 + [1]
    assert rows["after a line end"].astype(int).tolist() == [0] * 11 + [1]
    assert rows["punctuation"].astype(int).tolist() == [0, 0, 1, 0, 1, 0, 1, 1, 0, 0, 0, 0]
    assert features(["", "word", "Two"])["upper case"].tolist() == [0, 0, 1]


def test_passages_are_the_most_active_places() -> None:
    states = make_states()
    places = find_passages(states, 5, 3)
    row = np.abs(states.values[:, 5])
    assert abs(places[0].value) == pytest.approx(float(row.max()))
    assert TEXT[places[0].position] == places[0].symbol
    for p in places:
        assert p.before + p.symbol + p.after in TEXT
    assert all(p.value < 0 for p in find_passages(states, 5, 3, sign=-0.3))
    assert all(p.value > 0 for p in find_passages(states, 5, 3, sign=0.3))
    gaps = np.diff(sorted(p.position for p in places))
    assert (gaps > 24).all()


def test_neurons_above_the_threshold_in_a_range_match_similar_ranges() -> None:
    values = np.zeros((60, 4), np.float32)
    values[:, 3] = 1  # always on, so it is excluded
    for start in (10, 30, 50):
        values[start : start + 4, :2] = 0.9
    values[40:44, 0] = 0.9
    states = NeuronStates(tuple("abcdefghij" * 6), tuple(Neuron(0, "forward", "h", k) for k in range(4)), values)
    found = match_range(states, 10, 14)
    assert [(m.position, m.share) for m in found] == [(30, 1.0), (50, 1.0), (40, 0.5)]
    assert found[0].text == "abcd"
    for start, stop, message in ((20, 24, "no neuron is above"), (5, 5, "range within 0:60"), (50, 61, "range within")):
        with pytest.raises(InputError, match=message):
            match_range(states, start, stop)


@pytest.mark.parametrize("cell", CELLS)
def test_states_equal_those_of_the_trace(tmp_path: Path, cell: str) -> None:
    more = {} if cell.endswith(LOOP) else {"num_layers": 2, "bidirectional": True}
    model = ohlol.fit(upper_pairs(tmp_path / "pairs.tsv"), **{**TINY, **cell_settings(cell), "epochs": 1, **more})
    states, found = record_states(model, "abcde" * 4), trace(model, "abcde" * 4)
    assert len(states.neurons) == states.values.shape[1]
    for layer in found.layers:
        for name, rows in layer.after.items():
            mine = [
                k
                for k, neuron in enumerate(states.neurons)
                if (neuron.layer, neuron.direction, neuron.state) == (layer.layer, layer.direction, name)
            ]
            assert [states.neurons[k].index for k in mine] == list(range(6))
            np.testing.assert_allclose(states.values[:, mine], rows, atol=1e-5)


@pytest.fixture(scope="module")
def text_model(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    folder = tmp_path_factory.mktemp("runs")
    return ohlol.fit(text_file(folder / "text.txt"), out=folder / "run", **{**TINY, "epochs": 2})


def test_a_constructed_neuron_in_a_model(text_model: TrainedModel, tmp_path: Path) -> None:
    """One neuron whose weights depend only on whether the symbol is a space."""
    model = ohlol.fit(text_file(tmp_path / "text.txt"), **{**TINY, "epochs": 1, "embedding_size": 0, "cell": "rnn"})
    layer, vocab = model.network.layers, model.codec.symbols
    assert vocab is not None
    with torch.no_grad():
        layer.weight_hh_l0[2] = 0
        layer.weight_ih_l0[2] = 0
        layer.weight_ih_l0[2, vocab.symbols.index(" ")] = 2
    best = {f.feature: f for f in find_neurons(record_states(model, "the cat sat on the mat\n" * 10))}
    assert best["a space"].neuron == Neuron(0, "forward", "h", 2)
    assert best["a space"].r > 0.999


def test_explain_neurons_prints_text_and_json(
    text_model: TrainedModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as end:
            main(["explain", str(text_model.run), *arguments, "--lang", "en"])
        said = capsys.readouterr()
        return end.value.code, said.out, said.err

    file = tmp_path / "long.txt"
    file.write_text("the cat sat on the mat\n" * 20, encoding="utf-8")
    states = record_states(text_model, file.read_text(encoding="utf-8"))
    assert json.loads(run(str(file), "--neurons", "--json")[1]) == [
        json.loads(json.dumps(f.to_json())) for f in find_neurons(states)
    ]
    assert run(str(file), "--neurons")[0] == 0
    assert run("the cat", "--neurons")[0] == 2
    assert "--match is 'x'" in run(str(file), "--match", "x")[2]
    status, page, _ = run(str(file), "--match", "23:26", "--threshold", "0.01")
    assert status in (0, 2)
    assert status == 2 or "The neurons that are on over the" in page
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe")
    assert "not UTF-8" in run(str(tmp_path / "bad.txt"), "--neurons")[2]
