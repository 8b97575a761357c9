"""What the hooks see while a program runs, in this process."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from ohlol.explain.review import watcher

START = "import torch\nfrom torch import nn\ntorch.manual_seed(0)\n"

LOADER = """
from torch.utils.data import DataLoader, TensorDataset
loader = DataLoader(TensorDataset(torch.randn(24, 5, 3), torch.zeros(24)), batch_size=8)
rnn = nn.GRU(3, 4, batch_first={batch_first})
for x, y in loader:
    rnn(x{change})
"""
TRAINING = """
rnn = nn.GRU(3, 4)
optimizers = [torch.optim.SGD(rnn.parameters(), lr=0.1)]
carried = [None]
for i in range(3):
    {before}
    out, state = rnn(torch.randn(5, 2, 3), carried[0])
    carried[0] = {state}
    {zero}
    out.sum().backward()
    optimizers[0].step()
"""
PROGRAMS = [
    ("batch-read-as-time", LOADER.format(batch_first=False, change="")),
    ("", LOADER.format(batch_first=True, change="")),
    ("", LOADER.format(batch_first=False, change=".transpose(0, 1)")),
    ("batch-read-as-time", LOADER.format(batch_first=True, change=".transpose(0, 1)")),
    ("no-zero-grad", TRAINING.format(before="", state="None", zero="")),
    ("", TRAINING.format(before="", state="None", zero="optimizers[0].zero_grad()")),
    ("", TRAINING.format(before="rnn.zero_grad(set_to_none=False)", state="None", zero="")),
    ("", TRAINING.format(before="", state="state.detach()", zero="optimizers[0].zero_grad()")),
    ("state-not-detached", TRAINING.format(before="", state="state", zero="optimizers[0].zero_grad()")),
    ("single-steps", "rnn = nn.LSTM(3, 4, batch_first=True)\nfor _ in range(3):\n    rnn(torch.randn(6, 1, 3))\n"),
    ("", "rnn = nn.LSTM(3, 4, batch_first=True)\nfor _ in range(3):\n    rnn(torch.randn(6, 2, 3))\n"),
    ("", "rnn, s = nn.GRU(3, 4), torch.zeros(1, 6, 4)\nfor _ in range(3):\n    _, s = rnn(torch.randn(1, 6, 3), s)\n"),
    ("wrong-shape", "nn.GRU(3, 4, batch_first=True)(torch.randn(2, 5, 3), torch.zeros(2, 1, 4))\n"),
    ("wrong-shape", "nn.GRU(3, 4)(torch.nn.functional.one_hot(torch.tensor([[0, 2]]), 3))\n"),
    ("loss-broadcast", "loss = [nn.MSELoss()]\nloss[0](torch.randn(6, 1), torch.randn(6))\n"),
    ("", "loss = [nn.MSELoss()]\nloss[0](torch.randn(6), torch.randn(6))\n"),
    (
        "softmax-before-loss",
        "loss = {1: nn.CrossEntropyLoss()}\nloss[1](torch.rand(6, 4).softmax(1), torch.arange(6) % 4)",
    ),
    ("", "loss = {1: nn.CrossEntropyLoss()}\nloss[1](torch.rand(6, 4), torch.arange(6) % 4)"),
    ("no-eval", "d = {1: nn.Dropout(0.5)}\nwith torch.no_grad():\n    d[1](torch.randn(3))\n"),
    (
        "",
        "d = {1: nn.Dropout(0.5).eval()}\nwith torch.no_grad():\n    d[1](torch.randn(3))\n",
    ),
]


@pytest.fixture(autouse=True)
def _own_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setattr(sys, "path", list(sys.path))


def events(tmp_path: Path, source: str) -> list[dict[str, Any]]:
    program, report = tmp_path / "program.py", tmp_path / "report.jsonl"
    program.write_text(START + source, encoding="utf-8")
    watcher.main(str(program), str(report))
    return [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(("name", "source"), PROGRAMS)
def test_what_the_shapes_show(name: str, source: str, tmp_path: Path) -> None:
    found = {event["check"] for event in events(tmp_path, source) if "check" in event}
    assert found == ({name} if name else set())


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("raise SystemExit\n", None),
        ("raise SystemExit(0)\n", None),
        ("raise SystemExit(3)\n", "SystemExit: 3"),
        ("raise KeyboardInterrupt\n", "KeyboardInterrupt()"),
        ("raise ValueError('no')\n", "ValueError: no"),
    ],
)
def test_how_a_program_ends(source: str, error: str | None, tmp_path: Path) -> None:
    found = [event["error"] for event in events(tmp_path, source)]
    assert len(found) == (error is not None)
    assert error is None or found[0].startswith(error.removesuffix("()"))


def test_the_hooks_are_removed(tmp_path: Path) -> None:
    before = torch.Tensor.backward, DataLoader.__iter__
    assert events(tmp_path, "nn.GRU(3, 4)(torch.randn(5, 2, 3))\n") != []
    assert (torch.Tensor.backward, DataLoader.__iter__) == before
    torch.nn.GRU(3, 4)(torch.randn(5, 2, 3))  # a hook that is left would write to the closed report


def test_an_event_is_written_once(tmp_path: Path) -> None:
    source = "rnn = nn.GRU(3, 4)\nfor n in (2, 4, 2):\n    rnn(torch.randn(5, n, 3))\n"
    assert events(tmp_path, source) == [{"layer": "GRU", "shape": "(T=5, B=2, I=3)", "line": 6}]
