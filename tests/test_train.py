"""The loop: rates, stopping, best weights, and that an interrupted run ends in the same bytes as one that was not."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import TINY, Recorder, bytes_of, names_file, sine_file, text_file, upper_pairs
from safetensors.torch import load_file

import ohlol
from ohlol import recipe
from ohlol.checkpoint import load_resume
from ohlol.data import readers
from ohlol.errors import InputError
from ohlol.settings import OPTIMIZERS, DataSettings, TrainSettings
from ohlol.train import (
    ONECYCLE_END,
    ONECYCLE_RISE,
    ONECYCLE_START,
    PLATEAU_FACTOR,
    PLATEAU_PATIENCE,
    Interrupted,
    learning_rate,
)

TASKS: dict[str, tuple[Callable[[Path], Path], str, dict[str, Any]]] = {
    "label": (upper_pairs, "data.tsv", {"cell": "gru", "dropout": 0.3, "embedding_dropout": 0.2, "layers": 2}),
    "next": (text_file, "data.txt", {"cell": "lstm", "bptt": 7, "dropout": 0.1}),
    "classify": (names_file, "data.csv", {"input": "name", "target": "kind", "dropout": 0.2}),
    "forecast": (sine_file, "data.csv", {"bptt": 9, "schedule": "onecycle", "batch_size": 5}),
    "loop": (upper_pairs, "data.tsv", {"cell": "lstmcell", "schedule": "plateau", "optimizer": "sgd"}),
}


def prepared(kind: str, folder: Path) -> tuple[Path, dict[str, Any]]:
    maker, name, options = TASKS[kind]
    return maker(folder / name), {**TINY, **options}


def rates(schedule: str, total: int = 1000, warmup: int = 0) -> list[float]:
    settings = TrainSettings(lr=2.0, schedule=schedule, warmup=warmup)
    return [learning_rate(settings, step, total) for step in range(total)]


def test_constant_and_plateau_do_not_move_by_themselves() -> None:
    assert set(rates("constant")) == set(rates("plateau")) == {2.0}


def test_cosine_falls_from_all_to_nothing() -> None:
    found = rates("cosine")
    assert found[0] == 2.0
    assert found[500] == pytest.approx(1.0)
    assert found[250] == pytest.approx(1 + math.sqrt(0.5))
    assert 0 < found[-1] < 1e-5
    assert found == sorted(found, reverse=True)


def test_onecycle_rises_and_falls() -> None:
    found = rates("onecycle")
    top = round(ONECYCLE_RISE * 1000)
    assert found[0] == pytest.approx(2 * ONECYCLE_START)
    assert found[top] == pytest.approx(2.0)
    assert found[: top + 1] == sorted(found[: top + 1])
    assert found[top:] == sorted(found[top:], reverse=True)
    assert 2 * ONECYCLE_END < found[-1] < 2 * ONECYCLE_END * 1.5


def test_warmup_rises_in_equal_steps() -> None:
    assert rates("constant", warmup=4)[:6] == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]
    assert rates("cosine", warmup=10)[20:] == rates("cosine")[20:]


def test_the_optimizer_gets_the_rates() -> None:
    recorder = Recorder()
    ohlol.fit(lr=0.1, schedule="cosine", warmup=2, epochs=6, reporter=recorder)
    settings = TrainSettings(lr=0.1, schedule="cosine", warmup=2)
    assert recorder.rates == [learning_rate(settings, step, 6) for step in range(6)]
    assert [epoch.lr for epoch in recorder.epochs] == recorder.rates


def test_plateau_halves_the_rate_when_nothing_gets_better() -> None:
    recorder = Recorder()
    ohlol.fit(lr=1e-12, schedule="plateau", epochs=8, reporter=recorder)  # too small a rate to change a float32
    stale = [epoch.number for epoch in recorder.epochs if not epoch.best]
    assert len(stale) > PLATEAU_PATIENCE
    expected, factor, behind = [], 1.0, 0
    for epoch in recorder.epochs:
        expected.append(1e-12 * factor)
        behind = 0 if epoch.best else behind + 1
        factor *= PLATEAU_FACTOR if behind > PLATEAU_PATIENCE else 1
    assert recorder.rates == pytest.approx(expected, rel=1e-12)
    assert recorder.rates[-1] < recorder.rates[0] / 8


def test_early_stopping() -> None:
    recorder = Recorder()
    ohlol.fit(lr=1e-12, epochs=50, patience=3, reporter=recorder)
    last = max(epoch.number for epoch in recorder.epochs if epoch.best)
    assert len(recorder.epochs) == last + 3 < 50


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_each_optimizer_learns(optimizer: str) -> None:
    recorder = Recorder()
    lr = 0.3 if optimizer == "sgd" else 0.05
    ohlol.fit(optimizer=optimizer, lr=lr, epochs=40, head=True, seed=1, hidden_size=8, reporter=recorder)
    assert recorder.epochs[-1].loss < 0.2 < recorder.epochs[0].loss


def first_gradients(**settings: Any) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []

    def look(recorder: Recorder, step: int) -> None:
        assert recorder.trainer is not None
        found[:] = [p.grad.clone() for p in recorder.trainer.model.parameters() if p.grad is not None]

    ohlol.fit(epochs=1, seed=2, reporter=Recorder(look), **settings)
    return found


def norm(tensors: list[torch.Tensor]) -> float:
    return math.sqrt(sum(float((t**2).sum()) for t in tensors))


def test_clipping_bounds_the_norm_and_keeps_the_direction() -> None:
    free, clipped = first_gradients(clip=0.0), first_gradients(clip=0.01)
    assert norm(free) > 0.1
    assert norm(clipped) == pytest.approx(0.01, rel=1e-3)
    share = norm(clipped) / norm(free)
    for one, two in zip(free, clipped, strict=True):
        torch.testing.assert_close(one * share, two, rtol=1e-4, atol=1e-7)
    for one, two in zip(free, first_gradients(clip=1e6), strict=True):
        assert torch.equal(one, two)


def test_label_smoothing_is_cross_entropys() -> None:
    plain, smooth = Recorder(), Recorder()
    ohlol.fit(seed=5, epochs=1, reporter=plain)
    ohlol.fit(seed=5, epochs=1, label_smoothing=0.3, reporter=smooth)
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
    ohlol.fit(path, class_weights="balanced", reporter=recorder, **TINY)
    assert recorder.trainer is not None
    assert recorder.trainer.weights is not None
    torch.testing.assert_close(recorder.trainer.weights, torch.tensor([12 / (2 * 9), 12 / (2 * 3)]))
    plain = Recorder()
    ohlol.fit(path, reporter=plain, **TINY)
    assert plain.trainer is not None
    assert plain.trainer.weights is None
    assert plain.epochs[0].loss != recorder.epochs[0].loss


def test_rare_symbols_are_read_as_unknown(tmp_path: Path) -> None:
    recorder = Recorder()
    ohlol.fit(upper_pairs(tmp_path / "p.tsv"), unknown=0.25, reporter=recorder, **TINY)
    assert recorder.trainer is not None
    keep, vocab = recorder.trainer.keep, recorder.trainer.codec.symbols
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


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_best_weights(tmp_path: Path) -> None:
    data, settings = prepared("label", tmp_path)
    settings |= {"epochs": 8, "dev_fraction": 0.0}
    good, bad = tmp_path / "good", tmp_path / "bad"
    ohlol.fit(data, out=good, **{**settings, "epochs": 2, "schedule": "constant"})
    with pytest.raises(InputError) as stopped:
        ohlol.fit(data, out=bad, reporter=Recorder(poison(13)), **{**settings, "schedule": "constant"})
    said = str(stopped.value)
    assert said.startswith("epoch 3, step 14: the loss is nan; training stopped and the best weights so far are kept")
    assert "try a lower --lr" in said
    assert (bad / "model.safetensors").read_bytes() == (good / "model.safetensors").read_bytes()
    assert ohlol.load(bad).predict("abc").labels
    assert len((bad / "metrics.jsonl").read_text().splitlines()) == 2


def test_weights_that_break_in_the_last_step_stop_the_run_too(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^epoch 1, step 1: the measured loss is nan; .* no weights were saved"):
        ohlol.fit(lr=1e38, head=True, epochs=1, out=tmp_path / "run")
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
        ohlol.fit(upper_pairs(tmp_path / "p.tsv"), reporter=Recorder(explode), **TINY)


@pytest.mark.parametrize("kind", ["label", "forecast"])
def test_best_weights_are_those_of_the_best_epoch(tmp_path: Path, kind: str) -> None:
    data, settings = prepared(kind, tmp_path)
    settings |= {"lr": 0.1, "epochs": 6, "schedule": "constant"}
    kept: list[dict[str, torch.Tensor]] = []

    class Keeper(Recorder):
        def epoch(self, epoch: ohlol.train.Epoch) -> None:
            super().epoch(epoch)
            assert self.trainer is not None
            kept.append({k: v.clone() for k, v in self.trainer.model.state_dict().items()})

    keeper = Keeper()
    model = ohlol.fit(data, out=tmp_path / "run", reporter=keeper, **settings)
    best = max(epoch.number for epoch in keeper.epochs if epoch.best)
    name = "rmse" if kind == "forecast" else "accuracy"
    pick = min if kind == "forecast" else max
    assert keeper.epochs[best - 1].scores[name] == pick(epoch.scores[name] for epoch in keeper.epochs)
    saved = load_file(tmp_path / "run" / "model.safetensors")
    for key, value in saved.items():
        assert torch.equal(value, kept[best - 1][key])
        assert torch.equal(value, model.network.state_dict()[key])
    assert model.config.scores == pytest.approx(keeper.epochs[best - 1].scores)


def test_metrics_hold_a_line_an_epoch(tmp_path: Path) -> None:
    recorder = Recorder()
    ohlol.fit(out=tmp_path / "run", reporter=recorder)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, 21))
    assert [line["train_loss"] for line in lines] == [epoch.loss for epoch in recorder.epochs]
    assert [line["loss"] for line in lines] == [epoch.scores["loss"] for epoch in recorder.epochs]
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


def assert_same_state(one: Path, two: Path) -> None:
    """The saved states of two runs hold the same."""
    (tensors, position), (others, place) = load_resume(one), load_resume(two)
    assert position == place
    assert set(tensors) == set(others)
    for name, tensor in tensors.items():
        assert torch.equal(tensor, others[name]), name


class Killed(Exception):  # noqa: N818 - it stands for a signal
    """The process is gone."""


def stop(at: int) -> Callable[[Recorder, int], None]:
    def act(recorder: Recorder, step: int) -> None:
        assert recorder.trainer is not None
        recorder.trainer._stop = step == at

    return act


def kill(at: int) -> Callable[[Recorder, int], None]:
    def act(recorder: Recorder, step: int) -> None:
        if step == at:
            raise Killed

    return act


@pytest.mark.parametrize("kind", TASKS)
def test_an_interrupted_run_ends_in_the_same_bytes(kind: str, tmp_path: Path) -> None:
    data, settings = prepared(kind, tmp_path)
    whole = Recorder()
    ohlol.fit(data, out=tmp_path / "whole", reporter=whole, **settings)
    wanted = bytes_of(tmp_path / "whole")
    assert whole.trainer is not None
    an_epoch = len(whole.trainer.batches(0))
    assert an_epoch > 2  # or nothing would be stopped within an epoch
    ends = [(stop, at) for at in (1, an_epoch - 1, an_epoch, an_epoch + 2)]
    ends += [(kill, at) for at in (1, an_epoch + 1, 2 * an_epoch + 2)]
    for end, at in ends:
        out = tmp_path / f"{end.__name__}{at}"
        with pytest.raises((Interrupted, Killed)):
            ohlol.fit(data, out=out, reporter=Recorder(end(at)), **settings)
        rest = Recorder()
        ohlol.fit(out=out, resume=True, reporter=rest)
        found = bytes_of(out)
        for name in ("model.safetensors", "metrics.jsonl", "config.json"):
            assert found[name] == wanted[name], (end.__name__, at, name)
        assert_same_state(out, tmp_path / "whole")
        assert rest.steps < whole.steps or (end is kill and at == 1)


def test_a_run_can_be_stopped_again_and_again(tmp_path: Path) -> None:
    data, settings = prepared("next", tmp_path)
    ohlol.fit(data, out=tmp_path / "whole", **settings)
    out, resume, stops = tmp_path / "run", False, 0
    while True:
        try:
            source = None if resume else data
            given = {} if resume else settings
            ohlol.fit(source, out=out, resume=resume, reporter=Recorder(stop(5)), **given)
            break
        except Interrupted:
            resume, stops = True, stops + 1
    assert stops > 3
    for name in ("model.safetensors", "metrics.jsonl"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_states_are_saved_within_an_epoch(tmp_path: Path) -> None:
    data, settings = prepared("label", tmp_path)
    ohlol.fit(data, out=tmp_path / "whole", **settings)
    with pytest.raises(Killed):
        ohlol.fit(data, out=tmp_path / "run", reporter=Recorder(kill(4)), checkpoint_every="0s", **settings)
    rest = Recorder()
    ohlol.fit(out=tmp_path / "run", resume=True, reporter=rest)
    assert rest.trainer is not None
    assert rest.steps == 3 * len(rest.trainer.batches(0)) - 3
    for name in ("model.safetensors", "metrics.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_finished_run_resumes_to_itself(tmp_path: Path) -> None:
    data, settings = prepared("classify", tmp_path)
    ohlol.fit(data, out=tmp_path / "run", **settings)
    before = bytes_of(tmp_path / "run")
    rest = Recorder()
    ohlol.fit(out=tmp_path / "run", resume=True, reporter=rest)
    assert rest.steps == 0
    assert bytes_of(tmp_path / "run") == before


def test_pairs_of_ones_own_resume_without_being_given_again(tmp_path: Path) -> None:
    pairs = [("abc", "cab"), ("ca", "bb")]
    ohlol.fit(pairs, out=tmp_path / "whole")
    with pytest.raises(Interrupted):
        ohlol.fit(pairs, out=tmp_path / "run", reporter=Recorder(stop(7)))
    ohlol.fit(out=tmp_path / "run", resume=True)
    for name in ("model.safetensors", "metrics.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_resume_keeps_its_settings_and_its_data(tmp_path: Path) -> None:
    data, settings = prepared("label", tmp_path)
    out = tmp_path / "run"
    with pytest.raises(Interrupted):
        ohlol.fit(data, out=out, reporter=Recorder(stop(3)), **settings)
    before = bytes_of(out)
    with pytest.raises(InputError, match=r"was started with --lr 0.002, not 0.5; --resume keeps it"):
        ohlol.fit(out=out, resume=True, lr=0.5)
    with pytest.raises(InputError, match="was started with --hidden-size 6, not 7"):
        ohlol.fit(out=out, resume=True, hidden_size=7)
    with pytest.raises(InputError, match="was started with --format pairs, not conll"):
        ohlol.fit(out=out, resume=True, format="conll")
    with pytest.raises(InputError, match="was started with other data"):
        ohlol.fit(upper_pairs(tmp_path / "more.tsv", lines=30), out=out, resume=True)
    with pytest.raises(InputError, match="needs --out"):
        ohlol.fit(resume=True)
    assert bytes_of(out) == before
    ohlol.fit(data, out=out, resume=True, **settings)


def corpus_of(tmp_path: Path, labels: list[str]) -> readers.Corpus:
    path = tmp_path / "rows.csv"
    path.write_text("".join(f"name{i},{label}\n" for i, label in enumerate(labels)))
    return readers.read(path, DataSettings(task="classify", input="1", target="2", header=False))


@pytest.mark.parametrize("seed", range(5))
def test_the_measured_share_is_apart(tmp_path: Path, seed: int) -> None:
    corpus = corpus_of(tmp_path, ["x", "y"] * 20)
    train, dev = recipe._split(corpus, None, TrainSettings(dev_fraction=0.2, seed=seed))
    assert dev is not None
    assert len(dev.inputs) == 8
    lines = [[place.line for place in part.places] for part in (train, dev)]
    assert sorted(lines[0] + lines[1]) == list(range(1, 41))
    again = recipe._split(corpus, None, TrainSettings(dev_fraction=0.2, seed=seed))[1]
    other = recipe._split(corpus, None, TrainSettings(dev_fraction=0.2, seed=seed + 50))[1]
    assert again is not None
    assert other is not None
    assert again.places == dev.places != other.places


def test_a_label_seen_once_is_never_only_measured(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, ["x"] * 15 + [f"rare{i}" for i in range(15)])
    for seed in range(20):
        train, dev = recipe._split(corpus, None, TrainSettings(dev_fraction=0.5, seed=seed))
        assert dev is not None
        assert set(map(str, dev.targets or [])) <= set(map(str, train.targets or []))
        assert len(train.inputs) + len(dev.inputs) == 30


def test_too_few_are_all_trained_on(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, ["x", "y"] * 9)
    assert recipe._split(corpus, None, TrainSettings(dev_fraction=0.2)) == (corpus, None)


@pytest.mark.parametrize("kind", ["next", "forecast"])
def test_the_end_of_a_text_or_series_is_measured(tmp_path: Path, kind: str) -> None:
    data, _ = prepared(kind, tmp_path)
    corpus = readers.read(data)
    train, dev = recipe._split(corpus, None, TrainSettings(dev_fraction=0.25))
    assert dev is not None
    whole: Any = corpus.inputs[0]
    parts: list[Any] = [train.inputs[0], dev.inputs[0]]
    assert len(parts[1]) == len(whole) // 4
    assert list(parts[0]) + list(parts[1]) == list(whole) if kind == "next" else (np.concatenate(parts) == whole).all()


def test_a_dev_file_is_measured(tmp_path: Path) -> None:
    data, settings = prepared("label", tmp_path)
    dev = upper_pairs(tmp_path / "dev.tsv", lines=7, seed=9)
    recorder = Recorder()
    model = ohlol.fit(data, dev=dev, reporter=recorder, **settings)
    assert recorder.trainer is not None
    assert recorder.trainer.dev is not None
    assert (len(recorder.trainer.train), len(recorder.trainer.dev)) == (24, 7)
    assert model.config.dev_file == str(dev)
    assert model.config.scores == pytest.approx(model.evaluate(dev).scores())


def test_the_card_says_what_was_measured(tmp_path: Path) -> None:
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
        ({"cell": "elman"}, "--cell is 'elman'; it must be one of rnn, gru"),
        ({"hidden_size": 0}, "--hidden-size is 0; it must be at least 1"),
        ({"epochs": 0}, "--epochs is 0"),
        ({"dropout": 1.0}, "--dropout is 1.0; it must be in [0, 1)"),
        ({"label_smoothing": -0.1}, "--label-smoothing is -0.1"),
        ({"dev_fraction": 0.6}, "--dev-fraction is 0.6; it must be at most 0.5"),
        ({"lr": 0.0}, "--lr is 0.0; it must be greater than 0"),
        ({"lr": math.nan}, "--lr is nan"),
        ({"clip": -1.0}, "--clip is -1.0"),
        ({"seed": -1}, "--seed is -1"),
        ({"optimizer": "lion"}, "--optimizer is 'lion'"),
        ({"schedule": "step"}, "--schedule is 'step'"),
        ({"class_weights": "some"}, "--class-weights is 'some'"),
        ({"loss": "median"}, "--loss is 'median'"),
    ],
)
def test_settings_out_of_range_are_refused_before_anything_is_written(
    tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError) as refused:
        ohlol.fit(out=tmp_path / "run", **settings)
    assert str(refused.value).startswith(said)
    assert not (tmp_path / "run").exists()


def test_a_setting_that_is_none_is_a_programming_error() -> None:
    with pytest.raises(TypeError, match="there is no setting 'colour'; there are batch_size, bidirectional"):
        ohlol.fit(colour="red")


def test_a_little_data_gets_more_epochs(tmp_path: Path) -> None:
    recorder = Recorder()
    data = text_file(tmp_path / "text.txt", 60)
    ohlol.fit(data, **{k: v for k, v in TINY.items() if k != "epochs"}, bptt=4, patience=1, lr=1e-12, reporter=recorder)
    assert recorder.trainer is not None
    assert recorder.trainer.settings == replace(recorder.trainer.settings, epochs=100)


@pytest.mark.parametrize(
    "settings", [{"cell": "grucell"}, {"bidirectional": False}, {"embedding": 0}, {"cell": "lstmcell", "embedding": 0}]
)
def test_defaults_give_way_to_what_was_chosen(tmp_path: Path, settings: dict[str, Any]) -> None:
    data = upper_pairs(tmp_path / "pairs.tsv")
    model = ohlol.fit(data, hidden_size=4, epochs=1, **settings)
    assert {name: getattr(model.config.model, name) for name in settings} == settings
    assert model.config.model.bigrams == 0
