"""A step graph written as text and read again."""

import pytest
import torch
from user_cells import PlainGRU

from ohlol.cells.step_text import read_step, write_step
from ohlol.nn.cell_interface import find_interface
from ohlol.nn.cell_step import read_graph
from ohlol.ops.step_program import compile_step


def test_a_text_is_read_as_the_same_step() -> None:
    cell = PlainGRU(3, 5)
    graph = read_graph(cell, find_interface(cell, 3), 3, torch.float32)
    text = write_step(graph)
    again = read_step(text)
    assert write_step(again) == text
    assert [repr(v) for v in again.builder.values][-1] == repr(again.out[-1])
    assert again.state_widths == graph.state_widths
    compile_step(again, torch.float32, None)
    assert write_step(again) == text  # what a program adds to the graph is not part of the step


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"values": [["add", [3], 1, []]], "states": []}'])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not the text of a step"):
        read_step(text)
