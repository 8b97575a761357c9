"""The limits of the machine, and the share of them that a layer reaches."""

import json
from pathlib import Path

import pytest
import torch

from ohlol.cli import main
from ohlol.nn import benchmark, roofline
from ohlol.nn.roofline import Limits
from ohlol.ops import backend
from ohlol.utils.files import read_json

LIMITS = Limits("float32", 2, "avx2", {"avx2": 200.0, "baseline": 50.0}, bandwidth=10.0, matmul=100.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_machine_is_measured(dtype: torch.dtype) -> None:
    limits = roofline.measure_limits(dtype, seconds=0.0)
    assert limits.dtype in str(dtype)
    assert limits.threads == torch.get_num_threads()
    assert list(limits.multiply_adds) == list(backend.available())
    assert all(rate > 1e6 for rate in (*limits.multiply_adds.values(), limits.bandwidth, limits.matmul))
    assert json.loads(json.dumps(limits.to_json()))["variant"] == backend.selected()


def test_the_roofline_is_the_longer_of_two_times() -> None:
    assert LIMITS.peak == 200.0
    assert LIMITS.least_time(400, 10) == (2.0, roofline.COMPUTE)
    assert LIMITS.least_time(400, 30) == (3.0, roofline.MEMORY)
    without_kernels = Limits("float32", 2, "off", {}, bandwidth=10.0, matmul=100.0)
    assert without_kernels.least_time(400, 10) == (4.0, roofline.COMPUTE)


def test_a_row_has_its_share_of_the_roofline() -> None:
    size = benchmark.Size(3, 2, 4, 5)
    infer, train = benchmark.run(["gru"], [size], seconds=0.0, limits=LIMITS)
    for row, grad in ((infer, False), (train, True)):
        operations, numbers = benchmark.count_work(3, size, grad)
        least, bound = LIMITS.least_time(operations, 4 * numbers)
        assert row.roofline_share == pytest.approx(least / row.ours)
        assert row.bound == bound


def test_training_is_more_work_than_inference() -> None:
    """The operations and the numbers, counted one by one for a GRU of a single unit, input and step."""
    size = benchmark.Size(1, 1, 1, 1)
    assert benchmark.count_work(3, size, grad=False) == (2 * 3 * 2, 6 + 1 + 1)
    # backward: W_hh^T d, the gradients of W_ih and W_hh; both passes read x, out and gates, and grad_out is read
    assert benchmark.count_work(3, size, grad=True) == (2 * 3 * 2 + 2 * 3 * 3, 3 * 6 + 2 * (1 + 1 + 3) + 1)


def test_a_result_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "result.json"
    with pytest.raises(SystemExit) as ended:
        main(["bench", "--cell", "rnn", "--sizes", "3,2,4,5", "--seconds", "0", "--no-grad", "--save", str(path)])
    assert ended.value.code == 0
    result = read_json(path)
    [row] = result["rows"]
    assert row["size"] == {"T": 3, "B": 2, "inputs": 4, "hidden": 5}
    assert result["limits"]["threads"] == torch.get_num_threads()
    assert result["machine"]["packages"]["torch"] == torch.__version__
    out = capsys.readouterr().out
    assert f"torch.mm {1e-9 * result['limits']['matmul']:,.0f}" in out
    assert f"{100 * row['roofline_share']:.0f} %" in out


def test_a_result_that_cannot_be_kept_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "bench",
                "--cell",
                "rnn",
                "--sizes",
                "3,2,4,5",
                "--seconds",
                "0",
                "--save",
                str(tmp_path / "no" / "r.json"),
            ]
        )
    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert "--save is " in err
    assert err.count("\n") == 1
