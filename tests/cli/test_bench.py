"""`ohlol bench` prints one row per cell, size and direction of the measurement."""

import json

import pytest
from module_cells import imported

from ohlol import ops
from ohlol.cli import main


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with imported(), pytest.raises(SystemExit) as ended:  # forgets the cells that the command imports
        main(["bench", *arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code, *capsys.readouterr()


def test_each_row_is_one_measurement(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ("--sizes", "3,2,4,5", "--sizes", "2,1,3,4")
    code, out, _ = run(capsys, "--cell", "gru", *sizes, "--seconds", "0", "--dtype", "float64", "--json")
    assert code == 0
    rows = json.loads(out)
    assert [(row["size"]["T"], row["grad"]) for row in rows] == [(3, False), (3, True), (2, False), (2, True)]
    assert all(row["ratio"] == pytest.approx(row["torch"] / row["ours"]) for row in rows)


def test_the_table_names_cell_and_size(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = run(capsys, "--cell", "rnn", "--sizes", "3,2,4,5", "--seconds", "0", "--no-grad")
    assert code == 0
    assert [line.split()[:3] for line in out.splitlines() if "3,2,4,5" in line] == [["3,2,4,5", "infer", "rnn"]]


@pytest.mark.skipif(not ops.available(), reason="a reduced precision needs the compiled kernels")
@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_a_reduced_precision_is_compared_with_float32(precision: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--precision", precision, "--sizes", "3,2,4,5", "--seconds", "0")
    code, out, _ = run(capsys, *arguments, "--json")
    assert code == 0
    rows = json.loads(out)
    assert [(row["cell"], row["grad"], row["compared_with"]) for row in rows] == [
        (cell, False, "fp32") for cell in ("rnn", "gru", "lstm")
    ]
    assert all(row["backend"].endswith(f", {precision})") for row in rows)
    code, out, _ = run(capsys, *arguments)
    assert code == 0
    assert f"fp32, {precision}," in " ".join(out.split())
    assert f"fp32 and {precision} are measured in turns" in out


@pytest.mark.skipif(not ops.available(), reason="a reduced precision needs the compiled kernels")
@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_cells_of_any_kind_are_compared_with_float32(precision: str, capsys: pytest.CaptureFixture[str]) -> None:
    cells = ("--cell", "mgu", "--cell", "user_cells:ConcatenatedGRU")
    arguments = ("--precision", precision, *cells, "--sizes", "3,2,4,5", "--sizes", "1,1,6,7", "--seconds", "0")
    code, out, _ = run(capsys, *arguments, "--json")
    assert code == 0
    rows = json.loads(out)
    assert [row["compared_with"] for row in rows] == ["fp32"] * 4
    assert all(row["backend"].endswith(f", {precision})") for row in rows)
    code, out, _ = run(capsys, *arguments)
    assert code == 0
    assert f"fp32 and {precision} are measured in turns" in out
    assert "TorchScript" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cell", "elman"], "is 'elman'; it must be one of"),
        (["--sizes", "3,2"], "--sizes is '3,2'; give T,B,I,H"),
        (["--dtype", "int8"], "--dtype is 'int8'; it must be one of float32, float64"),
        (["--precision", "int4"], "--precision is 'int4'; it must be one of fp32, bf16, int8"),
        (["--precision", "int8", "--grad"], "--precision int8 is for inference in float32: leave --grad"),
        (
            ["--precision", "int8", "--cell", "module_cells:Cumulative", "--sizes", "2,1,3,4"],
            "--precision int8, --cell module_cells:Cumulative: the layer cannot run with int8, since",
        ),
    ],
)
def test_wrong_arguments_are_reported_in_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
