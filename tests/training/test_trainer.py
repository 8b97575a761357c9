"""The training loop: losses, stopping, best weights, NaN, and validation data."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import TINY, Recorder, bytes_of, prepared, text_file, upper_pairs
from safetensors.torch import load_file

import ohlol
from ohlol.config import DataSettings
from ohlol.data import sequences
from ohlol.data.raw_data import RawData
from ohlol.data.split import split_dev
from ohlol.tasks import TASKS
from ohlol.training.callbacks import Epoch
from ohlol.utils.errors import InputError


def test_training_stops_after_patience_epochs_without_improvement() -> None:
    recorder = Recorder()
    ohlol.fit(lr=1e-12, epochs=50, patience=3, callbacks=[recorder])
    last = max(epoch.number for epoch in recorder.epochs if epoch.best)
    assert len(recorder.epochs) == last + 3 < 50


def first_gradients(**settings: Any) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []

    def look(recorder: Recorder, step: int) -> None:
        assert recorder.trainer is not None
        found[:] = [p.grad.clone() for p in recorder.trainer.model.parameters() if p.grad is not None]

    ohlol.fit(epochs=1, seed=2, callbacks=[Recorder(look)], **settings)
    return found


def norm(tensors: list[torch.Tensor]) -> float:
    return math.sqrt(sum(float((t**2).sum()) for t in tensors))


def test_clipping_bounds_the_norm_and_keeps_the_direction() -> None:
    free, clipped = first_gradients(max_grad_norm=0.0), first_gradients(max_grad_norm=0.01)
    assert norm(free) > 0.1
    assert norm(clipped) == pytest.approx(0.01, rel=1e-3)
    share = norm(clipped) / norm(free)
    for one, two in zip(free, clipped, strict=True):
        torch.testing.assert_close(one * share, two, rtol=1e-4, atol=1e-7)
    for one, two in zip(free, first_gradients(max_grad_norm=1e6), strict=True):
        assert torch.equal(one, two)


def test_label_smoothing_equals_that_of_cross_entropy() -> None:
    plain, smooth = Recorder(), Recorder()
    ohlol.fit(seed=5, epochs=1, callbacks=[plain])
    ohlol.fit(seed=5, epochs=1, label_smoothing=0.3, callbacks=[smooth])
    torch.manual_seed(5)
    layer = torch.nn.RNN(4, 4)
    scores = layer(torch.eye(4)[[1, 0, 2, 2, 3]].view(5, 1, 4))[0].view(5, 4)
    wanted = torch.tensor([3, 1, 2, 3, 2])
    for recorder, amount in ((plain, 0.0), (smooth, 0.3)):
        loss = torch.nn.functional.cross_entropy(scores, wanted, label_smoothing=amount)
        assert recorder.epochs[0].loss == pytest.approx(loss.item(), abs=1e-5)


def test_balanced_weights_are_inverse_frequencies(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text("aaab\tXXXY\n" * 3)
    recorder = Recorder()
    ohlol.fit(path, class_weights="balanced", callbacks=[recorder], **TINY)
    assert recorder.trainer is not None
    assert recorder.trainer.loss.weights is not None
    torch.testing.assert_close(recorder.trainer.loss.weights, torch.tensor([12 / (2 * 9), 12 / (2 * 3)]))
    plain = Recorder()
    ohlol.fit(path, callbacks=[plain], **TINY)
    assert plain.trainer is not None
    assert plain.trainer.loss.weights is None
    assert plain.epochs[0].loss != recorder.epochs[0].loss


def test_rare_symbols_are_read_as_unknown(tmp_path: Path) -> None:
    recorder = Recorder()
    ohlol.fit(upper_pairs(tmp_path / "p.tsv"), unk_probability=0.2, callbacks=[recorder], **TINY)
    assert recorder.trainer is not None
    keep, vocab = recorder.trainer.keep_probabilities, recorder.trainer.codec.symbols
    assert keep is not None
    assert vocab is not None
    assert keep[0] == 1
    assert keep[1:].tolist() == pytest.approx([n / (n + 0.25) for n in vocab.counts[1:]])


def poison(at: int) -> Callable[[Recorder, int], None]:
    def act(recorder: Recorder, step: int) -> None:
        assert recorder.trainer is not None
        if step == at:
            with torch.no_grad():
                next(recorder.trainer.model.parameters()).fill_(math.nan)

    return act


def test_a_nan_loss_stops_the_run_and_keeps_the_best_weights(tmp_path: Path) -> None:
    data, settings = prepared("label", tmp_path)
    settings |= {"epochs": 8, "dev_fraction": 0.0}
    good, bad = tmp_path / "good", tmp_path / "bad"
    ohlol.fit(data, out=good, **{**settings, "epochs": 2, "lr_schedule": "constant"})
    with pytest.raises(InputError) as stopped:
        ohlol.fit(data, out=bad, callbacks=[Recorder(poison(13))], **{**settings, "lr_schedule": "constant"})
    said = str(stopped.value)
    assert said.startswith("epoch 3, step 14: the loss is nan; training stopped and the best weights so far are kept")
    assert "try a lower `lr`" in said
    assert (bad / "model.safetensors").read_bytes() == (good / "model.safetensors").read_bytes()
    assert ohlol.load(bad).predict("abc").labels
    assert len((bad / "metrics.jsonl").read_text().splitlines()) == 2


def test_weights_that_become_nan_in_the_last_step_stop_the_run(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"^epoch 1, step 1: the loss on the training data is nan; .* no weights were saved"
    ):
        ohlol.fit(lr=1e38, head="softmax", epochs=1, out=tmp_path / "run")
    assert not (tmp_path / "run" / "model.safetensors").exists()
    with pytest.raises(InputError, match="its training saved no weights"):
        ohlol.load(tmp_path / "run")


def test_an_infinite_loss_or_gradient_stops_the_run(tmp_path: Path) -> None:
    def explode(recorder: Recorder, step: int) -> None:
        assert recorder.trainer is not None
        with torch.no_grad():
            for p in recorder.trainer.model.parameters():
                p.fill_(3e38)

    with pytest.raises(InputError, match=r"epoch 1, step 2: the (loss|gradient) is (inf|nan)"):
        ohlol.fit(upper_pairs(tmp_path / "p.tsv"), callbacks=[Recorder(explode)], **TINY)


@pytest.mark.parametrize("kind", ["label", "next_row", "forecast"])
def test_best_weights_are_those_of_the_best_epoch(tmp_path: Path, kind: str) -> None:
    data, settings = prepared(kind, tmp_path)
    settings |= {"lr": 0.1, "epochs": 6, "lr_schedule": "constant"}
    kept: list[dict[str, torch.Tensor]] = []

    class Keeper(Recorder):
        def on_epoch_end(self, epoch: Epoch) -> None:
            super().on_epoch_end(epoch)
            assert self.trainer is not None
            kept.append({k: v.clone() for k, v in self.trainer.model.state_dict().items()})

    keeper = Keeper()
    model = ohlol.fit(data, out=tmp_path / "run", callbacks=[keeper], **settings)
    best = max(epoch.number for epoch in keeper.epochs if epoch.best)
    name = {"label": "accuracy", "next_row": "rmse", "forecast": "scaled_mae"}[kind]
    pick = max if kind == "label" else min
    assert keeper.epochs[best - 1].metrics[name] == pick(epoch.metrics[name] for epoch in keeper.epochs)
    saved = load_file(tmp_path / "run" / "model.safetensors")
    for key, value in saved.items():
        if kind != "forecast" or not key.startswith("head."):  # after little data that head stays near its start
            assert torch.equal(value, kept[best - 1][key])
        assert torch.equal(value, model.network.state_dict()[key])
    assert model.config.metrics == pytest.approx(keeper.epochs[best - 1].metrics)


def test_metrics_have_one_line_per_epoch(tmp_path: Path) -> None:
    recorder = Recorder()
    ohlol.fit(out=tmp_path / "run", callbacks=[recorder])
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, 21))
    assert [line["train_loss"] for line in lines] == [epoch.loss for epoch in recorder.epochs]
    assert [line["loss"] for line in lines] == [epoch.metrics["loss"] for epoch in recorder.epochs]
    assert [line["best"] for line in lines] == [epoch.best for epoch in recorder.epochs]


def test_equal_runs_write_equal_bytes(tmp_path: Path) -> None:
    data, settings = prepared("label", tmp_path)
    for name in ("one", "two"):
        ohlol.fit(data, out=tmp_path / name, **settings)
    ohlol.fit(data, out=tmp_path / "other", **{**settings, "seed": 1})
    one, two, other = (bytes_of(tmp_path / name) for name in ("one", "two", "other"))
    for name in ("model.safetensors", "metrics.jsonl", "config.json", "vocab.json", "resume/last.safetensors"):
        assert one[name] == two[name]
    assert one["model.safetensors"] != other["model.safetensors"]


def corpus_of(tmp_path: Path, labels: list[str]) -> RawData:
    path = tmp_path / "rows.csv"
    path.write_text("".join(f"name{i},{label}\n" for i, label in enumerate(labels)))
    return sequences.read(path, DataSettings(task="classify", input="1", target="2", header=False))


@pytest.mark.parametrize("seed", range(5))
def test_the_validation_share_is_not_trained_on(tmp_path: Path, seed: int) -> None:
    corpus = corpus_of(tmp_path, ["x", "y"] * 20)
    train, dev = split_dev(corpus, 0.2, seed, unknowns=True)
    assert dev is not None
    assert len(dev.inputs) == 8
    lines = [[place.line for place in part.places] for part in (train, dev)]
    assert sorted(lines[0] + lines[1]) == list(range(1, 41))
    again = split_dev(corpus, 0.2, seed, unknowns=True)[1]
    other = split_dev(corpus, 0.2, seed + 50, unknowns=True)[1]
    assert again is not None
    assert other is not None
    assert again.places == dev.places != other.places


def test_a_label_seen_once_is_trained_on(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, ["x"] * 15 + [f"rare{i}" for i in range(15)])
    for seed in range(20):
        train, dev = split_dev(corpus, 0.5, seed, unknowns=True)
        assert dev is not None
        assert set(map(str, dev.targets or [])) <= set(map(str, train.targets or []))
        assert len(train.inputs) + len(dev.inputs) == 30


def test_few_sequences_are_all_trained_on(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, ["x", "y"] * 9)
    assert split_dev(corpus, 0.2, 0, unknowns=True) == (corpus, None)


@pytest.mark.parametrize("kind", ["next", "next_row"])
def test_the_end_of_a_text_or_series_is_validation_data(tmp_path: Path, kind: str) -> None:
    data, _ = prepared(kind, tmp_path)
    corpus = sequences.read(data, DataSettings(task=kind))
    train, dev = split_dev(corpus, 0.25, 0, unknowns=True)
    assert dev is not None
    whole: Any = corpus.inputs[0]
    parts: list[Any] = [train.inputs[0], dev.inputs[0]]
    if kind == "next_row":
        parts[1] = parts[1][1:]  # the last training row, which predicts the first that is set apart
    assert len(parts[1]) == len(whole) // 4
    assert list(parts[0]) + list(parts[1]) == list(whole) if kind == "next" else (np.concatenate(parts) == whole).all()


def test_a_dev_file_is_evaluated(tmp_path: Path) -> None:
    data, settings = prepared("label", tmp_path)
    dev = upper_pairs(tmp_path / "dev.tsv", lines=7, seed=9)
    recorder = Recorder()
    model = ohlol.fit(data, dev=dev, callbacks=[recorder], **settings)
    assert recorder.trainer is not None
    assert recorder.trainer.dev is not None
    assert (len(recorder.trainer.train), len(recorder.trainer.dev)) == (24, 7)
    assert model.config.dev_file == str(dev)
    assert model.config.metrics == pytest.approx(model.evaluate(dev).metrics())


def test_a_file_removed_during_training_is_reported(tmp_path: Path) -> None:
    def remove(recorder: Recorder, step: int) -> None:
        (tmp_path / "run" / "vocab.json").unlink(missing_ok=True)

    with pytest.raises(InputError, match=r"^the training has ended, but its run cannot be loaded: .*vocab\.json"):
        ohlol.fit(out=tmp_path / "run", epochs=2, callbacks=[Recorder(remove)])


def test_the_card_names_the_validation_data(tmp_path: Path) -> None:
    few = upper_pairs(tmp_path / "few.tsv", lines=5)
    many = upper_pairs(tmp_path / "many.tsv", lines=40)
    ohlol.fit(few, out=tmp_path / "few", **TINY)
    ohlol.fit(many, out=tmp_path / "many", **TINY)
    assert "- measured on: the training data\n" in (tmp_path / "few" / "README.md").read_text()
    card = (tmp_path / "many" / "README.md").read_text()
    assert "- measured on: a share of 0.1 set apart\n" in card
    assert f"- trained on: {many}\n" in card
    assert "| hidden size | 6 |\n" in card


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"cell": "elman"}, "`cell` is 'elman'; it must be one of rnn, rnn_relu, gru"),
        ({"hidden_size": 0}, "`hidden_size` is 0; it must be at least 1"),
        ({"epochs": 0}, "`epochs` is 0"),
        ({"dropout": 1.0}, "`dropout` is 1.0; it must be in [0, 1)"),
        ({"label_smoothing": -0.1}, "`label_smoothing` is -0.1"),
        ({"dev_fraction": 0.6}, "`dev_fraction` is 0.6; it must be at most 0.5"),
        ({"lr": 0.0}, "`lr` is 0.0; it must be greater than 0"),
        ({"lr": math.nan}, "`lr` is nan"),
        ({"max_grad_norm": -1.0}, "`max_grad_norm` is -1.0"),
        ({"seed": -1}, "`seed` is -1"),
        ({"optimizer": "lion"}, "`optimizer` is 'lion'"),
        ({"lr_schedule": "step"}, "`lr_schedule` is 'step'"),
        ({"class_weights": "some"}, "`class_weights` is 'some'"),
        ({"loss_reduction": "median"}, "`loss_reduction` is 'median'"),
    ],
)
def test_settings_out_of_range_are_refused_before_anything_is_written(
    tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError) as refused:
        ohlol.fit(out=tmp_path / "run", **settings)
    assert str(refused.value).startswith(said)
    assert not (tmp_path / "run").exists()


def test_an_unknown_setting_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="there is no setting 'colour'; there are activation_regularization, "):
        ohlol.fit(colour="red")


def test_little_data_gets_more_epochs(tmp_path: Path) -> None:
    recorder = Recorder()
    data = text_file(tmp_path / "text.txt", 60)
    ohlol.fit(
        data, **{k: v for k, v in TINY.items() if k != "epochs"}, bptt=4, patience=1, lr=1e-12, callbacks=[recorder]
    )
    assert recorder.trainer is not None
    assert recorder.trainer.settings == replace(recorder.trainer.settings, epochs=TASKS["next"].max_epochs, patience=1)


@pytest.mark.parametrize(
    "settings",
    [
        {"cell": "gru", "loop": True},
        {"bidirectional": False},
        {"embedding_size": 0},
        {"cell": "lstm", "loop": True, "embedding_size": 0},
    ],
)
def test_chosen_settings_override_the_defaults(tmp_path: Path, settings: dict[str, Any]) -> None:
    data = upper_pairs(tmp_path / "pairs.tsv")
    model = ohlol.fit(data, hidden_size=4, epochs=1, **settings)
    assert {name: getattr(model.config.model, name) for name in settings} == settings
    assert model.config.model.bigram_size == 0
