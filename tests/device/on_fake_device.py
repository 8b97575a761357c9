"""The device tests on the fake device of fake_device.cpp; test_fake_device.py runs them in a separate process."""

import os
import sys
from pathlib import Path
from typing import Any

import fake_device
import pytest
import torch
from helpers import TINY, text_file, upper_pairs

GENERATOR = fake_device.install(Path(os.environ["OHLOL_OTHER"]))

# after the device is registered
from on_device import OnDevice  # noqa: E402

import ohlol  # noqa: E402
from ohlol.display import progress  # noqa: E402
from ohlol.utils import devices  # noqa: E402
from ohlol.utils.errors import InputError  # noqa: E402

pytestmark = pytest.mark.filterwarnings(
    "ignore:An output with one or more elements was resized"  # raised by torch's CPU fallback
)
OTHER = torch.device("other", 0)


class TestFakeDevice(OnDevice):
    device = "other"


def refused(work: Any, said: str) -> None:
    with pytest.raises((RuntimeError, TypeError), match=said):
        work()


@pytest.mark.parametrize("layer", [torch.nn.RNN, torch.nn.GRU, torch.nn.LSTM])
def test_access_from_the_cpu_is_refused(layer: Any) -> None:
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


def test_the_device_has_its_own_generator() -> None:
    torch.manual_seed(3)
    before, state = torch.get_rng_state(), devices.get_rng_state(OTHER)
    assert state is not None
    one = torch.nn.functional.dropout(torch.ones(100, device="other"))
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(GENERATOR.get_state(), state)
    devices.set_rng_state(OTHER, state)
    assert torch.equal(torch.nn.functional.dropout(torch.ones(100, device="other")).cpu(), one.cpu())


def test_a_model_too_large_for_the_device_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = text_file(tmp_path / "data.txt")
    module: Any = sys.modules["torch"].other
    monkeypatch.setattr(module, "free", 5_000)
    with pytest.raises(InputError, match=r"and 0\.0 GiB are free on other:0: a smaller `hidden_size`"):
        ohlol.fit(data, out=tmp_path / "run", device="other", **TINY)
    monkeypatch.setattr(module, "free", 50_000)
    with pytest.raises(InputError, match=r"free on other:0: a smaller `batch_size` \(here 4\) or `bptt`"):
        ohlol.fit(data, out=tmp_path / "run", device="other", **{**TINY, "bptt": 256})
    assert not (tmp_path / "run").exists()


def test_the_device_is_selected_and_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert devices.list_devices() == ["other of the tests"]
    assert devices.select_device("other") == devices.select_device("other:0") == OTHER
    with pytest.raises(InputError, match=r"`device` other:1: there is no such device; the last is other:0"):
        devices.select_device("other:1")
    with pytest.raises(InputError, match=r"`device` cuda: this torch .* was built without CUDA|torch finds no such"):
        devices.select_device("cuda")
    from rich.console import Console

    ohlol.fit(
        text_file(tmp_path / "c.txt"), device="other", precision="fp16", callbacks=[progress.Log(Console())], **TINY
    )
    assert ", 3 epochs, on other of the tests, in fp16\n" in capsys.readouterr().out


def test_a_search_trains_on_the_device(tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="optuna is not installed")
    data, search = upper_pairs(tmp_path / "a.tsv"), ["lr=1e-3:1e-2:log"]
    board = ohlol.tune(data, trials=2, out=tmp_path / "study", search=search, device="other", **TINY)
    assert [trial.state for trial in board.trials] == ["complete", "complete"]
    for trial in board.trials:
        assert "\n- computed by: other of the tests\n" in (trial.run / "README.md").read_text()
