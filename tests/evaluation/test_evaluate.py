"""Evaluation: its metrics are those of the predictions, and the model's mode is restored."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import TINY, conll_file, names_file, sine_file, text_file, upper_pairs

import ohlol
from ohlol.data import sequences
from ohlol.data.codec_encoding import encode_data
from ohlol.data.corpus.encode import encode
from ohlol.evaluation.evaluate import batches_in_order, measure_saturation, prediction_indices
from ohlol.inference.trained_model import TrainedModel
from ohlol.models.inputs import PackedInputs
from ohlol.tasks.label import StepLabelMetrics
from ohlol.utils.errors import InputWarning


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluate")


@pytest.fixture(scope="module")
def letters(folder: Path) -> TrainedModel:
    return ohlol.fit(upper_pairs(folder / "pairs.tsv"), **TINY)


def test_metrics_equal_those_of_the_predictions(letters: TrainedModel, folder: Path) -> None:
    corpus = sequences.read(folder / "pairs.tsv")
    metrics = letters.evaluate(folder / "pairs.tsv").metrics()
    correct = steps = correct_sequences = 0
    loss = 0.0
    assert corpus.targets is not None
    for text, targets in zip(corpus.inputs, corpus.targets, strict=True):
        prediction = letters.predict(str(text), n_best=99)
        hits = [target == label for target, label in zip(targets, prediction.labels, strict=True)]
        correct, steps, correct_sequences = correct + sum(hits), steps + len(hits), correct_sequences + all(hits)
        loss -= sum(math.log(dict(best)[target]) for target, best in zip(targets, prediction.best, strict=True))
    assert metrics["accuracy"] == pytest.approx(correct / steps)
    assert metrics["sequence_accuracy"] == pytest.approx(correct_sequences / len(corpus.inputs))
    assert metrics["loss"] == pytest.approx(loss / steps, rel=1e-4)


def test_metrics_of_classes_equal_those_of_the_predictions(folder: Path) -> None:
    names = ohlol.fit(names_file(folder / "names.csv"), input="name", target="kind", **TINY)
    corpus = sequences.read(folder / "names.csv", names.config.data)
    labels = [p.labels[0] for p in names.predict_many(corpus)]
    accumulator = names.evaluate(folder / "names.csv")
    assert accumulator.metrics()["accuracy"] == pytest.approx(np.mean(np.array(labels) == np.array(corpus.targets)))
    assert accumulator.confusion is not None
    assert accumulator.confusion.sum() == len(labels)
    predictions = list(names.predict_many(corpus))
    bins = accumulator.report().bins
    assert sum(bin.count for bin in bins) == len(labels)
    total = sum(bin.count * bin.confidence for bin in bins)
    assert total == pytest.approx(sum(p.probability[0] for p in predictions), rel=1e-5)


def test_every_symbol_of_a_text_counts(folder: Path) -> None:
    text = ohlol.fit(text_file(folder / "text.txt"), bptt=10, **TINY)
    accumulator = text.evaluate(folder / "text.txt")
    assert accumulator.predictions == len((folder / "text.txt").read_text()) - 1
    metrics = accumulator.metrics()
    assert metrics["bits"] == pytest.approx(metrics["loss"] / math.log(2))
    assert metrics["perplexity"] == pytest.approx(2 ** metrics["bits"])


def test_the_mode_of_the_model_is_restored(letters: TrainedModel, folder: Path) -> None:
    letters.network.train()
    letters.evaluate(folder / "pairs.tsv")
    assert letters.network.training
    letters.network.eval()
    letters.evaluate(folder / "pairs.tsv")
    assert not letters.network.training


def test_saturation_is_the_share_of_large_hidden_states(letters: TrainedModel, folder: Path) -> None:
    data = encode_data(letters.codec, sequences.read(folder / "pairs.tsv"))
    before = measure_saturation(letters.network, letters.codec, data)
    assert before < 1
    with torch.no_grad():
        for name, bias in letters.network.layers.named_parameters():
            if name.startswith("bias_ih"):
                bias.fill_(50.0)
    assert measure_saturation(letters.network, letters.codec, data) > before


def test_prediction_indices_select_the_steps_of_each_sequence(letters: TrainedModel) -> None:
    data = encode_data(letters.codec, letters.raw_data(["abc", "a", "ab"]))
    batch = batches_in_order(letters.codec, data)[0]
    assert batch.rows.tolist() == [0, 2, 1]
    assert [steps.tolist() for steps in prediction_indices(batch, per_sequence=False)] == [[0, 3, 5], [1, 4], [2]]
    assert [steps.tolist() for steps in prediction_indices(batch, per_sequence=True)] == [[0], [1], [2]]


@pytest.mark.parametrize("model", [{}, {"cell": "lstm"}, {"cell": "rnn", "loop": True}])
@pytest.mark.parametrize("chunk", [7, 1 << 14])
def test_held_out_rows_are_measured_with_the_history_read_first(
    tmp_path: Path, model: dict[str, Any], chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ohlol.evaluation.evaluate.HISTORY_STEPS", chunk)
    lengths = (30, 120, 61)
    files = [str(sine_file(tmp_path / f"{rows}.csv", rows, period=rows / 4)) for rows in lengths]
    run = ohlol.fit(files, dev_fraction=0.2, task="next_row", out=tmp_path / "run", **{**TINY, "cell": "gru"} | model)
    squared = np.zeros(2)
    for file, rows in zip(files, lengths, strict=True):
        whole = encode_data(run.codec, sequences.read(file, run.config.data))
        held_out = round(0.2 * rows)
        packed = PackedInputs.of(batches_in_order(run.codec, whole)[0], torch.device("cpu"))
        with torch.no_grad():
            predicted = run.network(packed, None)[0][-held_out:].numpy()
        assert run.codec.target_scale is not None
        assert whole.targets is not None
        errors = run.codec.target_scale.undo(predicted) - run.codec.target_scale.undo(
            np.asarray(whole.targets)[-held_out:]
        )
        squared += (errors**2).sum(axis=0)
    expected = np.sqrt(squared / sum(round(0.2 * rows) for rows in lengths)).mean()
    assert run.config.metrics["rmse"] == pytest.approx(expected, rel=1e-4)
    encode(files, tmp_path / "corpus", run.config.data, dev_fraction=0.2, jobs=1)
    again = ohlol.fit(tmp_path / "corpus", **{**TINY, "cell": "gru"} | model)
    assert again.config.metrics == pytest.approx(run.config.metrics)
    assert run.evaluate(tmp_path / "corpus").metrics() == pytest.approx(run.config.metrics)


def test_labels_that_training_did_not_see_count_as_wrong(letters: TrainedModel, tmp_path: Path) -> None:
    (tmp_path / "seen.tsv").write_text("abc\tABC\nba\tBA\n", encoding="utf-8")
    (tmp_path / "unseen.tsv").write_text("abc\tAZC\nba\tBA\n", encoding="utf-8")
    seen = letters.evaluate(tmp_path / "seen.tsv")
    with pytest.warns(InputWarning, match="1 of 5 labels were not seen in training, .* counts as wrong: 'Z'"):
        accumulator = letters.evaluate(tmp_path / "unseen.tsv")
    predicted = letters.predict("abc").labels
    correct = seen.metrics()["accuracy"] * 5 - (predicted[1] == "B")
    assert accumulator.metrics()["accuracy"] == pytest.approx(correct / 5)
    assert (accumulator.unseen, accumulator.predictions) == (1, 5)
    assert accumulator.confusion is not None
    assert accumulator.confusion.sum() == 4
    best = dict(letters.predict("abc", n_best=99).best[1])
    assert accumulator.loss == pytest.approx(seen.loss + math.log(best["B"]), rel=1e-4)
    assert accumulator.mean_loss == pytest.approx(accumulator.loss / 4)


@pytest.mark.parametrize("labels", [255, 256, 257])
def test_a_dev_file_with_unseen_labels_is_read_again_from_the_run(tmp_path: Path, labels: int) -> None:
    rows = [f"text {n},class {n:03}" for n in range(labels)]
    (tmp_path / "a.csv").write_text("\n".join(["text,label", *rows]), encoding="utf-8")
    (tmp_path / "dev.csv").write_text("\n".join(["text,label", *rows[:9], "text,new", "b,other"]), encoding="utf-8")
    settings = {"task": "classify", "input": "text", "target": "label", **TINY}
    with pytest.warns(InputWarning, match="2 of 11 labels were not seen in training, .*: 'new', 'other'"):
        model = ohlol.fit(tmp_path / "a.csv", dev=tmp_path / "dev.csv", out=tmp_path / "run", **settings)
    with pytest.warns(InputWarning):
        assert model.evaluate(tmp_path / "dev.csv").metrics() == pytest.approx(model.config.metrics)
    again = ohlol.fit(out=tmp_path / "run", resume=True)
    assert again.config.metrics == model.config.metrics


def test_spans_of_unseen_labels_are_missed(tmp_path: Path) -> None:
    names = ohlol.fit(conll_file(tmp_path / "a.conll"), **TINY)
    text = (tmp_path / "a.conll").read_text(encoding="utf-8")
    metrics = names.evaluate(tmp_path / "a.conll")
    (tmp_path / "b.conll").write_text(text.replace("Ada\tB-PER", "Ada\tB-NEW"), encoding="utf-8")
    with pytest.warns(InputWarning):
        unseen = names.evaluate(tmp_path / "b.conll")
    assert isinstance(metrics, StepLabelMetrics)
    assert isinstance(unseen, StepLabelMetrics)
    assert unseen.target_spans == metrics.target_spans
    assert unseen.correct_spans <= metrics.correct_spans
    assert unseen.unseen == text.count("Ada\tB-PER")
