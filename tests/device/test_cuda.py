"""Training and inference on an NVIDIA GPU, compared with the CPU; skipped without a GPU."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import TINY, text_file
from on_device import OnDevice

import ohlol
from ohlol.utils import devices

sys.path.append(str(Path(__file__).parents[1] / "distributed"))
from launch import flags, run, torchrun

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
"""cuBLAS reads it once in a process; without it, tests of equal bytes depend on the tests before them."""
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here")


class TestCuda(OnDevice):
    device = "cuda"


def test_layers_run_on_cudnn() -> None:
    layer, x = ohlol.nn.LSTM(4, 5).cuda(), torch.ones(3, 2, 4, device="cuda")
    assert ohlol.nn.explain_backend(layer, x) == "torch: a tensor is on cuda:0, the kernels run on the CPU"
    assert "CudnnRnn" in type(layer(x)[0].grad_fn).__name__


def test_batches_come_from_pinned_memory() -> None:
    import numpy as np

    sent = devices.to_device(np.arange(5), torch.device("cuda", 0))
    assert (sent.device.type, sent.tolist()) == ("cuda", [0, 1, 2, 3, 4])


def test_auto_selects_the_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(devices.DEVICE_VARIABLE)
    ohlol.fit(out=tmp_path / "run", epochs=1)
    line = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())
    assert line["machine"]["device"] == f"cuda {torch.cuda.get_device_name()}"
    assert line["machine"]["kernels"].startswith("cudnn ")


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two CUDA devices are here")
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_two_gpus_train_one_run(tmp_path: Path, precision: str) -> None:
    text_file(tmp_path / "data.txt", 2500)
    settings: dict[str, Any] = {**TINY, "bptt": 7, "dropout": 0.0, "device": "cuda", "precision": precision}
    run([sys.executable, "-m", "ohlol", "train", "data.txt", "--out", "one", *flags(settings)], tmp_path)
    run(torchrun(2, "-m", "ohlol", "train", "data.txt", "--out", "two", *flags(settings)), tmp_path)
    one, two = (
        [json.loads(line) for line in (tmp_path / n / "metrics.jsonl").read_text().splitlines()] for n in ("one", "two")
    )
    for a, b in zip(one, two, strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-4 if precision == "fp32" else 1e-2)
