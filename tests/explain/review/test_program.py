"""Places in a program: lines, loops, functions, and the text of a line with another expression."""

import ast
import re

import pytest

from ohlol.explain.review.program import BATCH, EVALUATION, TIME, Program

SOURCE = """
from torch import nn as layers
import torch.nn.functional as func
from torch.nn.utils.rnn import pad_sequence

def train(model):
    for x in data:
        while True:
            step(
                x,
            )
    func.relu(layers.Linear(2, 3)(pad_sequence(data)))
"""


def call_of(program: Program, name: str) -> ast.Call:
    return next(call for call in program.calls if ast.unparse(call.func).endswith(name))


def test_names_are_those_of_the_imports() -> None:
    program = Program(SOURCE)
    names = {ast.unparse(call.func): program.callee(call) for call in program.calls}
    assert names["layers.Linear"] == "torch.nn.Linear"
    assert names["func.relu"] == "torch.nn.functional.relu"
    assert names["pad_sequence"] == "torch.nn.utils.rnn.pad_sequence"
    assert list(program.calls_of("pad_sequence", "Linear")) == [
        call_of(program, "layers.Linear"),
        call_of(program, "pad_sequence"),
    ]


def test_loops_and_functions_around_a_place() -> None:
    program = Program(SOURCE)
    step, relu = call_of(program, "step"), call_of(program, "relu")
    assert [type(loop) for loop in program.loops_around(step)] == [ast.While, ast.For]
    assert list(program.loops_around(relu)) == []
    function = program.function_around(step)
    assert isinstance(function, ast.FunctionDef)
    assert program.within(step, function)
    assert program.function_around(function) is program.tree


def test_an_expression_of_several_lines_is_replaced() -> None:
    program = Program(SOURCE)
    step = call_of(program, "step")
    assert program.replace(step, "go(x)") == "go(x)"
    assert program.replace(call_of(program, "layers.Linear"), "名") == "func.relu(名(pad_sequence(data)))"


@pytest.mark.parametrize(
    ("pattern", "names", "others"),
    [
        (BATCH, ["batch", "self.batch_size", "bs", "B", "n_batch"], ["batches_done", "hidden_size", "tabs"]),
        (TIME, ["T", "seq_len", "self.max_len", "num_steps", "time"], ["hidden", "target", "runtime"]),
        (EVALUATION, ["evaluate", "test_model", "run_validation", "eval"], ["train", "latest", "retrieval", "contest"]),
    ],
)
def test_names_say_what_they_stand_for(pattern: re.Pattern[str], names: list[str], others: list[str]) -> None:
    assert [name for name in names if not pattern.search(name)] == []
    assert [name for name in others if pattern.search(name)] == []
