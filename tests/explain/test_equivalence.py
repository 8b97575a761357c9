"""The implementations agree, a wrong one is detected, and weights are unchanged by the conversions."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import TINY, upper_pairs

import ohlol
from ohlol import cells, nn
from ohlol.cli import main
from ohlol.explain.equivalence import (
    CELL_NAMES,
    cell_from_layer,
    compare,
    compare_run,
    layer_from_cell,
    matrix_products,
)
from ohlol.utils.errors import InputError


@pytest.mark.parametrize("kind", CELL_NAMES)
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (4, 4, 5, 1), (7, 33, 20, 3)])
def test_all_implementations_agree(kind: str, sizes: tuple[int, int, int, int]) -> None:
    comparison = compare(kind, **dict(zip(("input_size", "hidden_size", "seq_len", "batch_size"), sizes, strict=True)))
    assert comparison.converted
    assert len(comparison.implementations) == 5
    for way in comparison.implementations:
        assert way.agrees
        assert way.output < 1e-13
        assert way.gradient < 1e-12
        assert 0 <= way.output32 < 1e-5
        assert way.gradient32 < 1e-4
    if sizes[1] > 1:
        assert any(
            way.output32 > 0 for way in comparison.implementations
        )  # float32 is not float64: something was measured


def test_matrix_products_equal_the_layer_of_torch() -> None:
    for kind in CELL_NAMES:
        layer = getattr(torch.nn, kind.upper())(3, 2, dtype=torch.float64)
        x = torch.randn(4, 2, 3, dtype=torch.float64)
        output, last = matrix_products(cells.CELLS[kind], x, cells.Weights(*layer.all_weights[0]))
        expected, state = layer(x)
        torch.testing.assert_close(output, expected)
        torch.testing.assert_close(last, torch.cat(state if kind == "lstm" else [state]))


@pytest.mark.parametrize("kind", CELL_NAMES)
@pytest.mark.parametrize("what", ["forward", "gradient"])
def test_a_wrong_layer_is_detected(kind: str, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = getattr(nn, kind.upper())
    forward = ours.forward

    def wrong(self: Any, x: torch.Tensor, hx: Any = None) -> Any:
        output, last = forward(self, x, hx)
        return (output + 1e-3 if what == "forward" else output + (output - output.detach()) * 1e-3), last

    monkeypatch.setattr(ours, "forward", wrong)
    comparison = compare(kind)
    assert not comparison.agrees
    assert [way.name for way in comparison.implementations if not way.agrees] == [f"ohlol.nn.{kind.upper()}"]


@pytest.mark.parametrize(
    ("cell", "loop"), [("rnn", False), ("rnn_relu", False), ("gru", False), ("lstm", False), ("lstm", True)]
)
def test_the_weights_of_a_run(tmp_path: Path, cell: str, loop: bool) -> None:
    more = {"loop": True} if loop else {"num_layers": 2, "bidirectional": True}
    model = ohlol.fit(upper_pairs(tmp_path / "pairs.tsv"), cell=cell, **{**TINY, "epochs": 1, **more})
    comparisons = compare_run(model, seq_len=4, batch_size=2)
    assert all(comparison.agrees for comparison in comparisons)
    expected = [(k, d) for k in (0, 1) for d in ("forward", "backward")] if not loop else [(0, "forward")]
    assert [(p.layer, p.direction) for p in comparisons] == expected
    assert comparisons[0].sizes == {"I": model.network.encoder.size, "H": 6, "T": 4, "B": 2}
    assert len({p.implementations[1].output32 for p in comparisons}) == len(comparisons)  # each its own weights


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", CELL_NAMES)
def test_cells_from_layers_equal_the_layer(kind: str, bias: bool) -> None:
    layer = getattr(torch.nn, kind.upper())(3, 2, 2, bidirectional=True, bias=bias, dtype=torch.float64)
    x = torch.randn(5, 1, 3, dtype=torch.float64)
    state = torch.get_rng_state()
    y = x
    for k in range(2):
        outputs = []
        for backward in (False, True):
            cell = cell_from_layer(layer, k, backward=backward)
            assert type(cell) is getattr(nn, f"{kind.upper()}Cell")
            h: Any = None
            steps: list[torch.Tensor] = []
            for y_t in y.flip(0) if backward else y:
                h = cell(y_t, h)
                steps.append(h[0] if kind == "lstm" else h)
            outputs.append(torch.stack(steps[::-1] if backward else steps))
        y = torch.cat(outputs, dim=2)
    torch.testing.assert_close(y, layer(x)[0])
    assert torch.equal(torch.get_rng_state(), state)  # nothing drawn from the global generator


@pytest.mark.parametrize("kind", [*nn.CELL_CLASSES.values()])
def test_layers_from_cells_round_trip(kind: Any) -> None:
    cell = kind(3, 2)  # pyright: ignore[reportCallIssue]
    layer = layer_from_cell(cell)
    x = torch.randn(1, 4, 3)
    result = cell(x[0])
    torch.testing.assert_close(layer(x)[0][0], result[0] if isinstance(result, tuple) else result)
    again = cell_from_layer(layer)
    assert all(torch.equal(a, b) for a, b in zip(cell.parameters(), again.parameters(), strict=True))
    assert all(a is not b for a, b in zip(cell.parameters(), again.parameters(), strict=True))


def test_relu_is_kept() -> None:
    cell = cell_from_layer(torch.nn.RNN(3, 2, nonlinearity="relu"))
    assert isinstance(cell, torch.nn.RNNCell)
    assert cell.nonlinearity == "relu"
    assert layer_from_cell(cell).nonlinearity == "relu"


def test_invalid_weights_are_refused() -> None:
    for call, message in (
        (lambda: compare("elman"), "`cell` is 'elman'"),
        (lambda: compare(hidden_size=0), "`hidden_size` is 0; it must be from 1 to 1024"),
        (lambda: compare(input_size=9999), "`input_size` is 9999"),
        (lambda: cell_from_layer(torch.nn.GRU(3, 2), 1), "layer 1, forward"),
        (lambda: cell_from_layer(torch.nn.GRU(3, 2), backward=True), "layer 0, backward"),
        (lambda: cell_from_layer(torch.nn.LSTM(3, 2, proj_size=1)), "proj_size=1"),
    ):
        with pytest.raises(InputError, match=message):
            call()


def test_prove_prints_a_comparison_as_text_and_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as end:
            main(["prove", *arguments])
        assert isinstance(end.value.code, int)
        return end.value.code, capsys.readouterr().out

    status, page = run("--cell", "gru", "--lang", "en")
    assert status == 0
    assert "Cell weights -> layer weights -> cell weights: equal bit for bit." in page
    assert "同一组权重，5 种实现" in run("--cell", "gru", "--lang", "zh")[1]
    assert page.count("✓") == 5
    assert max(map(len, page.splitlines())) <= 80
    data = json.loads(run("--json")[1])
    assert data[0]["implementations"][0]["output"] == 0
    forward = nn.RNN.forward
    monkeypatch.setattr(nn.RNN, "forward", lambda self, x, hx=None: (forward(self, x, hx)[0] * 2, forward(self, x)[1]))
    status, page = run()
    assert status == 1
    assert page.count("✗") == 1


def test_a_lossy_conversion_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    from ohlol.explain import equivalence

    def lossy(cell: torch.nn.RNNCellBase) -> torch.nn.RNNBase:
        layer = layer_from_cell(cell)
        with torch.no_grad():
            layer.bias_hh_l0 += layer.bias_ih_l0  # as if the two biases were added
        return layer

    monkeypatch.setattr(equivalence, "layer_from_cell", lossy)
    comparison = equivalence.compare("lstm")
    assert all(way.agrees for way in comparison.implementations)
    assert not comparison.converted
    assert not comparison.agrees
