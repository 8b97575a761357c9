"""Programs of the vector machine: what is refused, and how values are placed."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from user_cells import PlainLSTM

from ohlol import ops
from ohlol.cells.step_gradient import Needs
from ohlol.cells.step_graph import build_step_graph
from ohlol.cells.step_lowering import StepGraph
from ohlol.cells.step_trace import trace_step
from ohlol.ops import backend
from ohlol.ops.program_writer import Program, padded
from ohlol.ops.step_program import StepPrograms, compile_step

pytestmark = pytest.mark.skipif(not ops.available(), reason=backend.ABSENT)
F32 = torch.float32
ASCENDING = torch.tensor([1, 1, 2])


def copying() -> Program:
    """h' = h, and a row of it."""
    kinds = {name: i for i, name in enumerate(backend.step_program().memories)}
    copy = backend.step_program().operations.index("copy")
    return Program(
        memories=[(kinds["state_before"], 0, 5, 16), (kinds["state_after"], 0, 5, 16), (kinds["rows"], 0, 5, 5)],
        layout=[(0, 0, 5)],
        instructions=[
            copy, 5, -1, 1, 0, 0, 0, 0, 0, -1, 0, 0, -1, 0, 0,
            copy, 5, -1, 2, 0, 0, 0, 0, 0, -1, 0, 0, -1, 0, 0,
        ],
        sections=[0, 2], states=(5,),
    )  # fmt: skip


def run(program: Program, *, rows: Any = None, initial: Any = None, final: Any = None, **changes: Any) -> torch.Tensor:
    out, h_0, h_n = torch.zeros(3, 5), torch.arange(5.0)[None], torch.zeros(1, 5)
    tensors = [(rows, [out.data_ptr(), 15]), (initial, [h_0.data_ptr(), 5]), (final, [h_n.data_ptr(), 5])]
    arguments = {
        "threads": 1, "shape": (3, 1, 3), "batch_sizes": 0, "reverse": False, "matrices": [],
        "tensors": [n for change, numbers in tensors for n in (numbers if change is None else change)],
    }  # fmt: skip
    backend.step_program().build(program, F32).run(**{**arguments, **changes})
    assert torch.equal(h_n, h_0)
    return out


def test_a_program_runs() -> None:
    assert torch.equal(run(copying()), torch.arange(5.0).expand(3, 5))


def edit(name: str, place: int, value: Any) -> Callable[[Program], None]:
    return lambda program: getattr(program, name).__setitem__(place, value)


@pytest.mark.parametrize(
    "change",
    [
        edit("instructions", 0, 99),
        edit("instructions", 0, -1),
        edit("instructions", 1, 6),
        edit("instructions", 1, 0),
        edit("instructions", 3, 3),
        edit("instructions", 3, 0),
        edit("instructions", 3, -1),
        edit("instructions", 4, 1),
        edit("instructions", 4, -1),
        edit("instructions", 5, 1),
        edit("instructions", 6, -1),
        edit("instructions", 6, 7),
        edit("instructions", 7, 1),
        edit("sections", 1, 3),
        edit("sections", 1, 1),
        edit("sections", 0, 1),
        edit("memories", 0, (99, 0, 5, 16)),
        edit("memories", 0, (1, 1, 5, 16)),
        edit("memories", 0, (1, 0, 6, 16)),
        edit("memories", 0, (1, 0, 5, 5)),
        edit("memories", 2, (0, 0, 5, 4)),
        edit("memories", 2, (0, -1, 5, 5)),
        edit("memories", 2, (0, 1 << 40, 5, 5)),
        edit("layout", 0, (1, 0, 5)),
        edit("layout", 0, (-1, 0, 5)),
        edit("layout", 0, (0, 1, 5)),
        edit("layout", 0, (0, -1, 5)),
        edit("layout", 0, (0, 0, 4)),
        edit("layout", 0, (0, 0, 1 << 40)),
        lambda program: program.layout.append((0, 0, 5)),
        lambda program: program.layout.append((2, -1, 5)),
        lambda program: program.layout.clear(),
        lambda program: program.instructions.pop(),
        lambda program: setattr(program, "matrices", [0, 1, 0]),
        lambda program: setattr(program, "states", (0,)),
    ],
)
def test_programs_that_lead_outside_of_memory_are_refused(change: Callable[[Program], Any]) -> None:
    program = copying()
    change(program)
    with pytest.raises(ValueError, match="the program does not fit"):
        backend.step_program().build(program, F32)


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": []},
        {"rows": [0, 15]},
        {"rows": [torch.zeros(14).data_ptr(), 14]},
        {"initial": [torch.zeros(4).data_ptr(), 4]},
        {"final": []},
        {"shape": (4, 1, 3)},
        {"shape": (3, 0, 0)},
        {"shape": (3, 1, 2)},
        {"batch_sizes": ASCENDING.data_ptr()},
        {"final": [1, 1, 1, 1]},
        {"rows": [1]},
    ],
)
def test_short_tensors_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"do not fit|does not fit|are not T|an address and a length"):
        run(copying(), **changes)


def test_short_or_unknown_matrices_of_fewer_bits_are_refused() -> None:
    programs = compile_step(lstm_graph(), F32, None)
    machine = backend.step_program()
    weights = [torch.randn(64, 3), torch.randn(64, 16)]
    views = [n for w in weights for n in (w.data_ptr(), w.numel(), w.size(1), w.size(0), 1, w.size(1))]
    for format in machine.formats.values():
        packed = backend.pack_matrices(programs.forward, format, views)
        size = programs.forward.pack(format=format, matrices=views, destination=0)
        assert 0 < size <= len(packed)
        for wrong in ([packed.data_ptr(), size - 1], [0, size]):
            with pytest.raises(ValueError, match="the packed matrices"):
                run_lstm(programs, format=format, packed=[*wrong, 0, 0])
        run_lstm(programs, format=format, packed=[packed.data_ptr(), size, 0, 0])
        with pytest.raises(ValueError, match="the program does not fit"):
            programs.forward.pack(format=format, matrices=views[:6], destination=packed.data_ptr())
    for format in (3, -1):
        with pytest.raises(ValueError, match="no such format"):
            programs.forward.pack(format=format, matrices=views, destination=0)
        with pytest.raises(ValueError, match="no such format"):
            run_lstm(programs, format=format, packed=[0, 0, 0, 0])
    with pytest.raises(ValueError, match="no such format"):
        compile_step(lstm_graph(), torch.float64, None).forward.pack(format=1, matrices=views, destination=0)


def run_lstm(programs: StepPrograms, **options: Any) -> None:
    """One step of one sequence."""
    tensors = [torch.zeros(n) for n in (3, 16, 64, 64, 16, 16, 16, 16)]
    programs.forward.run(
        threads=1, shape=(1, 1, 1), batch_sizes=0, reverse=False, matrices=[],
        tensors=[n for t in tensors for n in (t.data_ptr(), t.numel())], **options,
    )  # fmt: skip


def lstm_graph() -> StepGraph:
    cell = PlainLSTM(3, 16)
    trace = trace_step(
        lambda w, x, s: torch.func.functional_call(cell, w, (x, s)), dict(cell.named_parameters()), 3, [16, 16], F32
    )
    return build_step_graph(trace, trace.result[0], trace.result)


def test_an_lstm_saves_its_gates_and_states() -> None:
    graph = lstm_graph()
    needs = Needs((True,), (True, True), (True, True), (True, True))
    programs = compile_step(graph, F32, needs)
    assert programs.gradient is not None
    assert sorted(v.op for v in programs.gradient.saved) == ["sigmoid"] * 3 + ["state"] * 2 + ["tanh"] * 2
    assert [len(m.segments) for m in programs.gradient.matrices] == [4, 4]
    assert programs.product_size == 64  # both products have the same gradients
    assert len(programs.sums) == 1  # and so have both biases
    frozen = compile_step(graph, F32, Needs((True,), (False, False), (False, False), (True, True)))
    assert frozen.kept_size == 6 * 16  # not h, which only the gradient of the matrix needs


def test_rows_begin_at_multiples_of_64_bytes() -> None:
    assert [padded(n, F32) for n in (1, 16, 17)] == [16, 16, 32]
    assert [padded(n, torch.float64) for n in (1, 8, 9)] == [8, 8, 16]
