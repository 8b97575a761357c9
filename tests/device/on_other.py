"""The tests of a device beside the CPU on the one of other.cpp; test_other.py runs them in a process of their own."""

import os
import sys
from pathlib import Path
from typing import Any

import other
import pytest
import torch
from helpers import TINY, text_file, upper_pairs

DRAWN_FROM = other.install(Path(os.environ["OHLOL_OTHER"]))

# after torch knows the device
from on_device import OnDevice  # noqa: E402

import ohlol  # noqa: E402
from ohlol.display import progress  # noqa: E402
from ohlol.utils import devices  # noqa: E402
from ohlol.utils.errors import InputError  # noqa: E402

pytestmark = pytest.mark.filterwarnings(
    "ignore:An output with one or more elements was resized"  # of torch itself, where it borrows from the CPU
)
OTHER = torch.device("other", 0)


class TestOther(OnDevice):
    device = "other"


def refused(work: Any, said: str) -> None:
    with pytest.raises((RuntimeError, TypeError), match=said):
        work()


@pytest.mark.parametrize("layer", [torch.nn.RNN, torch.nn.GRU, torch.nn.LSTM])
def test_it_refuses_what_a_gpu_refuses(layer: Any) -> None:
    here, there = torch.ones(3, 4), torch.ones(3, 4, device="other")
    refused(there.numpy, "can't convert other:0 device type tensor to numpy")
    for operation in (torch.add, torch.mul, torch.where, torch.cat):
        given = ([here, there],) if operation is torch.cat else (there, here)
        given = (there > 0, *given) if operation is torch.where else given
        refused(lambda operation=operation, given=given: operation(*given), "same device")
    refused(lambda: there @ here.T, "same device")
    refused(lambda: torch.nn.functional.cross_entropy(there, torch.tensor([0, 1, 2])), "same device")
    refused(lambda: torch.nn.functional.embedding(torch.tensor([0, 1]), there), "same device")
    model, x = layer(4, 5).to("other"), torch.ones(2, 3, 4, device="other")
    _, state = model(x)
    wide = tuple(torch.cat([s, s], 2)[:, :, :5] for s in (state if isinstance(state, tuple) else (state,)))
    refused(lambda: model(x, wide if len(wide) == 2 else wide[0]), "hx is not contiguous")


def test_it_draws_from_a_generator_of_its_own() -> None:
    torch.manual_seed(3)
    before, state = torch.get_rng_state(), devices.get_rng_state(OTHER)
    assert state is not None
    one = torch.nn.functional.dropout(torch.ones(100, device="other"))
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(DRAWN_FROM.get_state(), state)
    devices.set_rng_state(OTHER, state)
    assert torch.equal(torch.nn.functional.dropout(torch.ones(100, device="other")).cpu(), one.cpu())


def test_a_model_too_large_for_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = text_file(tmp_path / "data.txt")
    module: Any = sys.modules["torch"].other
    monkeypatch.setattr(module, "free", 5_000)
    with pytest.raises(InputError, match=r"and 0\.0 GiB are free on other:0: a smaller `hidden_size`"):
        ohlol.fit(data, out=tmp_path / "run", device="other", **TINY)
    monkeypatch.setattr(module, "free", 50_000)
    with pytest.raises(InputError, match=r"free on other:0: a smaller --batch-size \(here 4\) or --bptt"):
        ohlol.fit(data, out=tmp_path / "run", device="other", **{**TINY, "bptt": 256})
    assert not (tmp_path / "run").exists()


def test_it_is_found_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert devices.list_devices() == ["other of the tests"]
    assert devices.select_device("other") == devices.select_device("other:0") == OTHER
    with pytest.raises(InputError, match=r"`device` other:1: there is no such device; the last is other:0"):
        devices.select_device("other:1")
    with pytest.raises(InputError, match=r"--device cuda: this torch .* was built without CUDA|torch finds no such"):
        devices.select_device("cuda")
    from rich.console import Console

    ohlol.fit(
        text_file(tmp_path / "c.txt"), device="other", precision="fp16", callbacks=[progress.Log(Console())], **TINY
    )
    assert ", 3 epochs, on other of the tests, in fp16\n" in capsys.readouterr().out


def test_a_sweep_trains_on_it(tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="optuna is not installed")
    data, search = upper_pairs(tmp_path / "a.tsv"), ["lr=1e-3:1e-2:log"]
    board = ohlol.tune(data, trials=2, out=tmp_path / "study", search=search, device="other", **TINY)
    assert [trial.state for trial in board.trials] == ["complete", "complete"]
    for trial in board.trials:
        assert "\n- computed by: other of the tests\n" in (trial.run / "README.md").read_text()
