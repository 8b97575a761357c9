"""`ohlol.fit(None)` equals the tutorial's two programs, which use torch alone, at every epoch."""

import math
import re
from functools import cache

import pytest
import torch
from helpers import Recorder

import ohlol
from ohlol.cli import main

SYMBOLS = ["e", "h", "l", "o"]
X = [SYMBOLS.index(c) for c in "hello"]
Y = [SYMBOLS.index(c) for c in "ohlol"]
EPOCHS = 20
TOLERANCE = 1e-5


def cell_program(seed: int) -> list[tuple[str, float]]:
    """The tutorial's loop over torch.nn.RNNCell: the loss is the sum over the steps."""
    torch.manual_seed(seed)
    inputs = torch.eye(4)[X].view(-1, 1, 4)
    labels = torch.tensor(Y).view(-1, 1)
    cell = torch.nn.RNNCell(input_size=4, hidden_size=4)
    criterion = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(cell.parameters(), lr=0.1)
    history = []
    for _ in range(EPOCHS):
        loss = torch.zeros(())
        optimizer.zero_grad()
        hidden = torch.zeros(1, 4)
        predicted = ""
        for x, label in zip(inputs, labels, strict=True):
            hidden = cell(x, hidden)
            loss = loss + criterion(hidden, label)
            predicted += SYMBOLS[int(hidden.argmax(dim=1))]
        loss.backward()
        optimizer.step()
        history.append((predicted, loss.item()))
    return history


def layer_program(seed: int) -> list[tuple[str, float]]:
    """The tutorial's torch.nn.RNN: the loss is the mean over the steps."""
    torch.manual_seed(seed)
    inputs = torch.eye(4)[X].view(5, 1, 4)
    labels = torch.tensor(Y)
    layer = torch.nn.RNN(input_size=4, hidden_size=4, num_layers=1)
    criterion = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    history = []
    for _ in range(EPOCHS):
        optimizer.zero_grad()
        output, _ = layer(inputs, torch.zeros(1, 1, 4))
        scores = output.view(-1, 4)
        loss = criterion(scores, labels)
        loss.backward()
        optimizer.step()
        history.append(("".join(SYMBOLS[i] for i in scores.argmax(dim=1)), loss.item()))
    return history


PROGRAMS = {True: cell_program, False: layer_program}
"""By whether the cell runs in a loop."""


@cache
def tutorial(loop: bool, seed: int) -> list[tuple[str, float]]:
    return PROGRAMS[loop](seed)


@cache
def run_fit(loop: bool, seed: int) -> list[tuple[str, float]]:
    recorder = Recorder()
    ohlol.fit(None, loop=loop, seed=seed, callbacks=[recorder])
    return [("".join(epoch.predictions[0]), epoch.loss) for epoch in recorder.epochs]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("loop", PROGRAMS)
def test_every_epoch_equals_the_tutorial(loop: bool, seed: int) -> None:
    history, expected = run_fit(loop, seed), tutorial(loop, seed)
    assert len(history) == EPOCHS
    assert [text for text, _ in history] == [text for text, _ in expected]
    assert [loss for _, loss in history] == pytest.approx([loss for _, loss in expected], rel=0, abs=TOLERANCE)


@pytest.mark.parametrize("loop", PROGRAMS)
def test_the_same_seeds_learn_the_word(loop: bool) -> None:
    solved = [
        {seed for seed in range(100) if "ohlol" in [text for text, _ in program(loop, seed)]}
        for program in (run_fit, tutorial)
    ]
    assert solved[0] == solved[1]
    assert len(solved[0]) == len(solved[1])
    assert 0 < len(solved[0]) < 100  # equal sets of all or of no seeds would prove little


def test_the_first_loss_is_near_that_of_uniform_probabilities() -> None:
    assert run_fit(True, 0)[0][1] == pytest.approx(5 * math.log(4), abs=2.0)
    assert run_fit(False, 0)[0][1] == pytest.approx(math.log(4), abs=0.4)


def test_the_default_is_the_layer() -> None:
    recorder = Recorder()
    ohlol.fit(seed=4, callbacks=[recorder])
    assert [epoch.loss for epoch in recorder.epochs] == [loss for _, loss in run_fit(False, 4)]


@pytest.mark.parametrize("loop", PROGRAMS)
def test_plain_output_equals_that_of_the_tutorial(
    loop: bool, tmp_path: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    seed = next(s for s in range(100) if tutorial(loop, s)[-1][0] == "ohlol")
    with pytest.raises(SystemExit) as ended:
        main(["train", "--loop" if loop else "--no-loop", "--seed", str(seed)])
    lines = capsys.readouterr().out.splitlines()
    shown = [re.fullmatch(r"Predicted string: (\w+), Epoch \[(\d+)/20\] loss = (\d+\.\d{4})", line) for line in lines]
    printed = [(m[1], int(m[2]), float(m[3])) for m in shown if m]
    expected = tutorial(loop, seed)
    assert ended.value.code == 0
    assert [(text, number) for text, number, _ in printed] == [(text, i) for i, (text, _) in enumerate(expected, 1)]
    assert [loss for *_, loss in printed] == pytest.approx([loss for _, loss in expected], rel=0, abs=6e-5)
    assert lines[EPOCHS - 1].startswith("Predicted string: ohlol, Epoch [20/20] loss = ")
    assert lines[-1] == "hello -> ohlol"
