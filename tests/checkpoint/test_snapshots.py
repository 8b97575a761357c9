"""Snapshots: one per epoch and one before the first, equal after an interruption; damaged ones are refused."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from helpers import TINY, Recorder, bytes_of, upper_pairs
from safetensors.torch import save_file

import ohlol
from ohlol.checkpoint import snapshots
from ohlol.checkpoint.weights import get_weights
from ohlol.models.sequence_model import SequenceModel
from ohlol.training.trainer import Interrupted
from ohlol.utils.errors import InputError

SETTINGS = {**TINY, "snapshots": True}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("snapshots")
    ohlol.fit(upper_pairs(folder / "data.tsv"), out=folder / "run", **SETTINGS)
    return folder / "run"


def test_one_snapshot_per_epoch_and_one_before_training(run: Path) -> None:
    model = ohlol.load(run).network
    assert snapshots.list_epochs(run) == [0, 1, 2, 3]
    epochs = [snapshots.load(run, epoch, model) for epoch in snapshots.list_epochs(run)]
    names = list(get_weights(model))
    assert all(set(weights) == set(names) for weights in epochs)
    for before, after in pairwise(epochs):
        assert any(not torch.equal(before[name], after[name]) for name in names)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    best = [line["epoch"] for line in lines if line["best"]][-1]
    assert all(torch.equal(epochs[best][name], weight) for name, weight in get_weights(model).items())
    torch.manual_seed(0)  # the run's seed, and nothing is drawn from it before the weights
    first = get_weights(SequenceModel(model.settings, model.sizes))
    assert all(torch.equal(epochs[0][name], weight) for name, weight in first.items())


def test_snapshots_are_equal_after_an_interruption(run: Path, tmp_path: Path) -> None:
    def stop(recorder: Recorder, step: int) -> None:
        if step in (3, 9):
            assert recorder.trainer is not None
            recorder.trainer.stop()

    data, wanted = upper_pairs(tmp_path / "data.tsv"), bytes_of(run)
    with pytest.raises(Interrupted):
        ohlol.fit(data, out=tmp_path / "run", callbacks=[Recorder(stop)], **SETTINGS)
    with pytest.raises(Interrupted):
        ohlol.fit(out=tmp_path / "run", resume=True, callbacks=[Recorder(stop)])
    ohlol.fit(out=tmp_path / "run", resume=True)
    found = bytes_of(tmp_path / "run")
    for name in (f"snapshots/{epoch:05}.safetensors" for epoch in range(4)):
        assert found[name] == wanted[name], name
    before = bytes_of(tmp_path / "run/snapshots")
    ohlol.fit(out=tmp_path / "run", resume=True)
    assert bytes_of(tmp_path / "run/snapshots") == before


def test_no_snapshots_by_default(tmp_path: Path) -> None:
    ohlol.fit([("hello", "ohlol")], epochs=1, out=tmp_path / "run")
    assert not (tmp_path / "run/snapshots").exists()
    assert snapshots.list_epochs(tmp_path / "run") == []
    with pytest.raises(InputError, match="no snapshot of epoch 1; there are none: train with `snapshots` to keep"):
        snapshots.load(tmp_path / "run", 1, ohlol.load(tmp_path / "run").network)
    with pytest.raises(InputError, match="`snapshots` needs `out`"):
        ohlol.fit([("hello", "ohlol")], epochs=1, snapshots=True)


def test_overwriting_removes_snapshots_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "run"
    ohlol.fit([("hello", "ohlol")], epochs=5, out=out, snapshots=True)
    (out / "snapshots/notes.txt").write_text("mine")
    ohlol.fit([("hello", "ohlol")], epochs=2, out=out, snapshots=True, overwrite=True)
    assert snapshots.list_epochs(out) == [0, 1, 2]
    assert (out / "snapshots/notes.txt").read_text() == "mine"


def test_a_damaged_snapshot_is_refused(run: Path, tmp_path: Path) -> None:
    model = ohlol.load(run).network
    path = run / "snapshots/00001.safetensors"
    whole = path.read_bytes()
    for damaged, said in (
        (whole[:-3], "cannot be read"),
        (whole[:-3] + b"abc", "does not match its checksum"),
        (b"", "cannot be read"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=said) as error:
            snapshots.load(run, 1, model)
        assert str(path) in str(error.value)
    save_file({"layers.weight_ih_l0": torch.zeros(2, 2)}, path)
    with pytest.raises(InputError, match=r"00001\.safetensors: the weight .* is missing"):
        snapshots.load(run, 1, model)
    path.write_bytes(whole)
    with pytest.raises(InputError, match="no snapshot of epoch 9; there are epochs 0 to 3"):
        snapshots.load(run, 9, model)


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    ohlol.fit([("hello", "ohlol")], epochs=1, out=out)
    elsewhere.mkdir()
    (elsewhere / "00000.safetensors").write_text("not ours")
    (out / "snapshots").symlink_to(elsewhere)
    with pytest.raises(InputError, match="is a symbolic link; nothing is written through one"):
        ohlol.fit([("hello", "ohlol")], epochs=1, out=out, overwrite=True, snapshots=True)
    assert (elsewhere / "00000.safetensors").read_text() == "not ours"
