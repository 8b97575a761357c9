"""The device that a name selects, on machines with and without accelerators."""

from typing import Any

import pytest
import torch

import ohlol
from ohlol.utils import devices
from ohlol.utils.errors import InputError


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch reports on a machine with two GPUs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    monkeypatch.setattr(torch.accelerator, "current_device_index", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"Card {device.index}")
    monkeypatch.delenv(devices.DEVICE_VARIABLE)


def test_auto_is_the_cpu_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv(devices.DEVICE_VARIABLE)
    assert devices.select_device() is devices.select_device("cpu") is devices.select_device("cpu:0") is devices.CPU
    assert devices.describe_device(devices.CPU) == "cpu"
    assert devices.get_rng_state(devices.CPU) is None


@pytest.mark.usefixtures("two_gpus")
def test_auto_is_the_first_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [str(devices.select_device(name)) for name in ("auto", "cuda", "cuda:1", "cpu")] == [
        *("cuda:0", "cuda:0", "cuda:1", "cpu")
    ]
    assert devices.list_devices() == ["cuda Card 0", "cuda Card 1"]
    monkeypatch.setenv(devices.DEVICE_VARIABLE, "cuda:1")
    assert str(devices.select_device()) == "cuda:1"
    assert str(devices.select_device("cuda:0")) == "cuda:0"
    monkeypatch.setenv(devices.DEVICE_VARIABLE, "cpu")
    assert devices.select_device() is devices.CPU


@pytest.mark.usefixtures("two_gpus")
def test_each_process_selects_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert str(devices.select_device()) == str(devices.select_device("cuda")) == "cuda:1"
    assert devices.select_device("cpu") is devices.CPU
    with pytest.raises(InputError, match=r"`device` cuda:0: each of the 2 processes takes one of its own"):
        devices.select_device("cuda:0")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    with pytest.raises(
        InputError,
        match=r"`device` cuda: 3 processes on this host, and 2 such devices: --nproc-per-node 2, or",
    ):
        devices.select_device()


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cuda:2", r"`device` cuda:2: there is no such device; the last is cuda:1"),
        ("xpu", r"`device` xpu: torch finds no such device on this machine \(xpu\); use `device=cpu`"),
        ("gpu", r"`device` is 'gpu'; give auto, cpu, cuda or one of several, such as cuda:1"),
        ("meta", r"`device` meta: torch finds no such device"),
        ("", r"`device` is ''"),
    ],
)
def test_a_missing_device_is_refused(name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        devices.select_device(name)


@pytest.mark.skipif(torch.backends.cuda.is_built(), reason="this torch was built with CUDA")
def test_cuda_without_cuda_is_reported_in_one_line(tmp_path: Any) -> None:
    with pytest.raises(InputError, match=r"^`device` cuda: this torch \(.*\) was built without CUDA; use `device=cpu`"):
        ohlol.fit(out=tmp_path / "run", device="cuda")
    assert not (tmp_path / "run").exists()


def test_tf32_is_disabled_within_the_context_only() -> None:
    """The settings exist without a GPU, too."""
    kinds = torch.backends.cudnn.rnn, torch.backends.cuda.matmul
    before = [kind.fp32_precision for kind in kinds]
    assert "tf32" in before
    with devices.disable_tf32(torch.device("cuda", 0)):
        assert [kind.fp32_precision for kind in kinds] == ["ieee", "ieee"]
    assert [kind.fp32_precision for kind in kinds] == before
    with devices.disable_tf32(devices.CPU):
        assert [kind.fp32_precision for kind in kinds] == before


def test_a_device_module_without_a_device_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    class Module:
        state = torch.arange(3)

        def get_rng_state(self) -> torch.Tensor:
            return self.state

        def set_rng_state(self, state: torch.Tensor) -> None:
            self.state = state

    module = Module()
    monkeypatch.setattr(torch, "get_device_module", lambda device: module)
    mps = torch.device("mps")
    devices.set_rng_state(mps, torch.ones(2))
    state = devices.get_rng_state(mps)
    assert state is not None
    assert torch.equal(state, torch.ones(2))
