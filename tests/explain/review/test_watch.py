"""Programs are run in a process of their own, and what their shapes show is reported."""

import subprocess
import time
from pathlib import Path

import pytest

from ohlol.explain.review.watch import Watched, watch
from ohlol.utils.errors import InputError
from ohlol.utils.translation import use_language

START = "import torch\nfrom torch import nn\ntorch.manual_seed(0)\n"


def run(tmp_path: Path, source: str, **options: float) -> Watched:
    path = tmp_path / "program.py"
    path.write_text(START + source, encoding="utf-8")
    return watch(path, **options)


LAYER = "rnn = nn.GRU(3, 4)\nrnn(torch.randn(5, 2, 3))\nrnn(torch.randn(5, 2, 7))\n"


def test_places_calls_and_errors(tmp_path: Path) -> None:
    watched = run(tmp_path, LAYER)
    call = watched.calls[0]
    assert (call.line, call.layer, call.shape) == (5, "GRU", "(T=5, B=2, I=3)")
    (finding,) = watched.findings
    assert (finding.line, finding.code, finding.column) == (6, "rnn(torch.randn(5, 2, 7))", 1)
    assert finding.message("en").endswith(
        "another order. (the input (5, 2, 7) has 7 features at axis 2; the layer has input_size=3)"
    )
    assert watched.error.startswith("RuntimeError: ")
    assert "program.py:6" in watched.error
    assert not watched.is_stopped


@pytest.mark.slow
def test_advice_on_shapes_is_in_the_language_of_the_user(tmp_path: Path) -> None:
    with use_language("zh"):
        (finding,) = run(tmp_path, LAYER).findings
    assert finding.message("zh").endswith("的维。（输入 (5, 2, 7) 在第 2 维有 7 个特征；该层的 input_size=3）")
    assert finding.instead == "GRU(input_size=7, ...)，或 3 个特征的 x"


@pytest.mark.slow
def test_a_program_is_stopped_at_the_limit_with_its_own_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, wait, waits = tmp_path / "log", subprocess.Popen.wait, iter(range(100))
    source = f"""
import subprocess, sys, time
nn.GRU(3, 4)(torch.randn(5, 2, 3))
code = "import time\\nwhile True:\\n    open({str(log)!r}, 'a').write('x')\\n    time.sleep(0.01)"
subprocess.Popen([sys.executable, "-c", code])
time.sleep(600)
"""

    def wait_for_log(process: "subprocess.Popen[bytes]", timeout: float | None = None) -> int:
        """The limit is reached as soon as the program's own process runs, however slow the machine is."""
        if next(waits) > 0:
            return wait(process, timeout)
        while not log.exists():
            time.sleep(0.01)
        raise subprocess.TimeoutExpired("", 0)

    monkeypatch.setattr(subprocess.Popen, "wait", wait_for_log)
    watched = run(tmp_path, source)
    assert watched.is_stopped
    assert watched.error == ""
    assert len(watched.calls) == 1
    time.sleep(0.2)
    size = log.stat().st_size
    time.sleep(0.2)
    assert log.stat().st_size == size


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("import os\nos._exit(7)\n", "it ended with status 7"),
        ("import sys\nassert sys.argv == [__file__] and __name__ == '__main__' and not sys.stdin.read()\n", ""),
    ],
)
def test_how_a_program_ends(source: str, error: str, tmp_path: Path) -> None:
    watched = run(tmp_path, source)
    assert watched.error.startswith(error)
    assert bool(watched.error) == bool(error)


@pytest.mark.slow
def test_a_module_beside_the_program_is_imported(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("import torch\nlayer = torch.nn.GRU(3, 4)\n")
    watched = run(tmp_path, "import beside\nbeside.layer(torch.randn(5, 2, 3))\n")
    assert (watched.error, len(watched.calls)) == ("", 1)


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_limit_that_is_not_positive_is_refused(seconds: float, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"`seconds` is .*; it must be greater than 0"):
        run(tmp_path, "", seconds=seconds)
