"""Models in `torch.compile` and `torch.export`: the kernels run, and the results are the same.

`nn/test_traced.py` runs these tests in a process without the checks of annotations, which no graph can hold.
"""

import copy
import importlib
import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_sequence
from user_cells import PlainLSTM

import ohlol
from ohlol import nn

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
RECURRENCE = importlib.import_module("ohlol.ops.recurrence")
OPERATORS = importlib.import_module("ohlol.ops.operators")
STEPS = importlib.import_module("ohlol.ops.step_operators")


class Tagger(torch.nn.Module):
    """A label for each step."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(20, 6)
        self.layers = torch.nn.LSTM(6, 5, 2, bidirectional=True, batch_first=True)
        self.head = torch.nn.Linear(10, 3)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.layers(self.embedding(ids))[0])


class PackedTagger(Tagger):
    """The same for a packed batch of vectors."""

    def forward(self, packed: Any) -> Tensor:
        output, (h_n, c_n) = self.layers(packed)
        return torch.cat([self.head(output.data).flatten(), h_n.flatten(), c_n.flatten()])


class LanguageModel(torch.nn.Module):
    """The next symbol, from a state that is carried over."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(20, 6)
        self.layer = torch.nn.GRU(6, 5)
        self.head = torch.nn.Linear(5, 20)

    def forward(self, ids: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        output, h_n = self.layer(self.embedding(ids), h_0)
        return self.head(output), h_n


class UserModel(torch.nn.Module):
    """A user's cell."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Recurrent(lambda size: PlainLSTM(size, 5), 2, bidirectional=True, input_size=6)
        self.head = torch.nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        output, (h_n, _) = self.layers(x)
        return self.head(output) + h_n.sum()


def model(kind: type[torch.nn.Module]) -> torch.nn.Module:
    torch.manual_seed(0)
    return ohlol.accelerate(kind())


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What runs the kernels, at each call of a registered operator; a single layer counts as a stack."""
    made: list[str] = []
    for module, names in (
        (
            OPERATORS,
            {"forward_stack": "forward_stack", "forward_layer": "forward_stack", "stack_gradients": "stack_gradients"},
        ),
        (STEPS, {"forward_step": "forward_step", "backward_step": "backward_step"}),
    ):
        for attribute, name in names.items():
            function = getattr(module, attribute)

            def count(*arguments: Any, name: str = name, function: Any = function, **options: Any) -> Any:
                made.append(name)
                return function(*arguments, **options)

            monkeypatch.setattr(module, attribute, count)
    torch._dynamo.reset()
    return made


def assert_same_in_a_graph(compiled: Any, module: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
    """Results and gradients of a compiled model and of the model."""
    found = []
    for run in (compiled, module):
        result = run(*inputs)
        results = result if isinstance(result, tuple) else (result,)
        loss = sum((r.square().sum() for r in results), torch.zeros(()))
        found.append([*results, *torch.autograd.grad(loss, list(module.parameters()), allow_unused=True)])
    for a, b in zip(*found, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def example(kind: type[torch.nn.Module], T: int, B: int) -> tuple[Any, ...]:
    generator = torch.Generator().manual_seed(T)
    ids = torch.randint(0, 20, (B, T), generator=generator)
    if kind is LanguageModel:
        return ids.t(), torch.randn(1, B, 5, generator=generator)
    if kind is PackedTagger:
        return (pack_sequence([torch.randn(1 + n % T, 6, generator=generator) for n in range(B)], False),)
    return (torch.randn(T, B, 6, generator=generator),) if kind is UserModel else (ids,)


@pytest.mark.parametrize("kind", [Tagger, PackedTagger, LanguageModel, UserModel])
def test_one_graph_runs_the_kernels(calls: list[str], kind: type[torch.nn.Module]) -> None:
    module = model(kind)
    graphs: list[Any] = []
    made: list[int] = []

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return importlib.import_module("torch._dynamo.backends.debugging").aot_eager(graph, inputs)

    compiled = torch.compile(module, fullgraph=True, dynamic=True, backend=backend)
    for T, B in ((7, 9), (5, 12), (3, 10)):
        calls.clear()
        assert_same_in_a_graph(compiled, module, example(kind, T, B))
        layers = 4 if kind is UserModel else 1
        forward, backward = (
            ("forward_step", "backward_step") if kind is UserModel else ("forward_stack", "stack_gradients")
        )
        assert calls.count(forward) == calls.count(backward) == layers
        made.append(len(graphs))
    assert made[0] == made[-1]  # one graph for all sizes
    if kind is UserModel:
        assert made[0] == 1  # traced once, as no number of a layer is an input of the graph


def test_inductor_compiles_a_model() -> None:
    module = model(Tagger)
    compiled = torch.compile(module, fullgraph=True, dynamic=True)
    for T, B in ((7, 9), (5, 12)):
        assert_same_in_a_graph(compiled, module, example(Tagger, T, B))


def test_a_layer_outside_of_the_graph_runs_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `accelerate`, torch's compiler passes over the layer, which then runs as without a compiler."""
    monkeypatch.setattr("torch._dynamo.config.allow_rnn", False)
    torch._dynamo.reset()
    single = importlib.import_module("ohlol.ops.single")
    made: list[int] = []
    function = single.run_forward
    monkeypatch.setattr(single, "run_forward", lambda **options: (made.append(1), function(**options))[1])
    layer = nn.LSTM(3, 4)
    x = torch.randn(5, 2, 3)
    with torch.no_grad():
        expected = layer(x)[0]
        assert torch.equal(torch.compile(torch.nn.Sequential(layer), backend="eager")(x)[0], expected)
    assert len(made) == 2


def test_changes_of_a_cell_make_another_graph() -> None:
    class Scaled(PlainLSTM):
        scale = 1.0

        def forward(self, x: Tensor, state: Any) -> Any:
            h, c = super().forward(x, state)
            return h * self.scale, c

    torch._dynamo.reset()
    layer = nn.Recurrent(Scaled(6, 5), input_size=6)
    layer.cells[0].scale = 2.0
    compiled = torch.compile(layer, fullgraph=True, dynamic=True, backend="eager")
    x = torch.randn(4, 3, 6)
    for scale in (2.0, 0.5):
        layer.cells[0].scale = scale
        torch.testing.assert_close(compiled(x)[0], layer(x)[0])


def test_a_cell_without_a_kernel_runs_in_a_loop_in_the_graph() -> None:
    class Sorts(torch.nn.RNNCell):
        def forward(self, input: Tensor, hx: Any = None) -> Tensor:
            return super().forward(input, hx).sort(dim=1).values

    torch._dynamo.reset()
    layer, x = nn.Recurrent(Sorts(3, 4)), torch.randn(5, 2, 3)
    torch.testing.assert_close(torch.compile(layer, fullgraph=True, backend="eager")(x)[0], layer(x)[0])


@pytest.mark.parametrize("options", [{}, {"weight_dropout": {"weight_hh": 0.5}}, {"zoneout": 0.5}])
def test_directions_of_a_layer_of_which_one_runs_in_a_loop(options: dict[str, Any]) -> None:
    class Sorts(torch.nn.RNNCell):
        def forward(self, input: Tensor, hx: Any = None) -> Tensor:
            return super().forward(input, hx).sort(dim=1).values

    for kinds in ([torch.nn.RNNCell, torch.nn.RNNCell], [torch.nn.RNNCell, Sorts], [Sorts, torch.nn.RNNCell]):
        torch._dynamo.reset()
        cells = iter(kinds)
        layer = nn.Recurrent(lambda size: next(cells)(size, 4), bidirectional=True, input_size=3, **options)  # noqa: B023
        compiled: Any = torch.compile(layer, fullgraph=True, backend="aot_eager")
        x = torch.randn(5, 2, 3)
        if options:
            layer.eval()
        for a, b in zip(compiled(x), layer(x), strict=True):
            torch.testing.assert_close(a, b)
        if "weight_dropout" in options:
            layer.train()
            results = []
            for run in (compiled, layer):
                torch.manual_seed(0)
                results.append(run(x)[0])
            torch.testing.assert_close(*results)


def test_other_transforms_in_a_graph_use_torch() -> None:
    torch._dynamo.reset()
    layer, x = ohlol.accelerate(torch.nn.GRU(3, 4)), torch.randn(5, 2, 3)
    gradient = torch.func.grad(lambda v: layer(v)[0].square().sum())
    torch.testing.assert_close(torch.compile(gradient, fullgraph=True, backend="aot_eager")(x), gradient(x))


CELLS = {"rnn": torch.nn.RNNCell, "gru": torch.nn.GRUCell, "lstm": torch.nn.LSTMCell}


def dtypes_of(result: Any) -> list[torch.dtype]:
    if isinstance(result, PackedSequence):
        return [result.data.dtype]
    return [result.dtype] if isinstance(result, Tensor) else [dtype for r in result for dtype in dtypes_of(r)]


@pytest.fixture(params=[True, False], ids=["onednn", "without"])
def onednn(request: pytest.FixtureRequest) -> Iterator[bool]:
    """With and without oneDNN, which decides what torch's LSTM returns."""
    with torch.backends.mkldnn.flags(enabled=request.param):
        yield request.param


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("form", ["dense", "packed", "reduced input", "state"])
def test_autocast_in_a_graph(calls: list[str], onednn: bool, kind: str, form: str) -> None:
    """The dtypes are those without a graph; an LSTM in oneDNN, which not every processor has, returns autocast's."""
    torch.manual_seed(0)
    layer, x = ohlol.accelerate(getattr(torch.nn, kind)(3, 4, 2)), torch.randn(5, 2, 3)
    inputs: Any = pack_sequence([x[:, 0], x[:3, 1]]) if form == "packed" else x
    inputs = x.bfloat16() if form == "reduced input" else inputs
    h_0 = torch.randn(2, 2, 4)
    state = None if form != "state" else (h_0, h_0) if kind == "LSTM" else h_0
    compiled = torch.compile(layer, fullgraph=form != "packed", backend="aot_eager")
    with torch.autocast("cpu", torch.bfloat16):
        found = compiled(inputs, state)
        assert "forward_stack" in calls
        if kind == "LSTM" and onednn and form in ("dense", "state"):
            assert set(dtypes_of(found)) == {torch.bfloat16}
            return
        expected = layer(inputs, state)
    assert dtypes_of(found) == dtypes_of(expected)
    pairs = [(found[0], expected[0])] if form != "packed" else [(found[0].data, expected[0].data)]
    for a, b in pairs:
        torch.testing.assert_close(a, b, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("form", ["dense", "reduced input", "state"])
@pytest.mark.parametrize("kind", [*CELLS, "user"])
def test_autocast_of_any_cell_in_a_graph(calls: list[str], kind: str, form: str) -> None:
    torch.manual_seed(0)
    layer, x = nn.Recurrent(CELLS[kind](3, 4) if kind in CELLS else PlainLSTM(3, 4)), torch.randn(5, 2, 3)
    inputs, h_0 = x.bfloat16() if form == "reduced input" else x, torch.randn(1, 2, 4)
    state = None if form != "state" else (h_0, h_0) if kind in ("lstm", "user") else h_0
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = compiled(inputs, state), layer(inputs, state)
    assert ("forward_step" in calls) == (form != "reduced input")
    assert dtypes_of(found) == dtypes_of(expected)
    torch.testing.assert_close(found[0], expected[0], rtol=0.02, atol=0.02)


@pytest.mark.parametrize("kind", CELLS)
def test_autocast_of_a_cell_in_a_graph(kind: str) -> None:
    torch._dynamo.reset()
    cell, x = ohlol.accelerate(CELLS[kind](3, 4)), torch.randn(2, 3)
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = torch.compile(cell, fullgraph=True, backend="aot_eager")(x), cell(x)
    assert dtypes_of(found) == dtypes_of(expected)


# Export

_LOAD = """
import sys, torch, ohlol.nn
program = torch.export.load(sys.argv[1]).module()
for inputs, expected in torch.load(sys.argv[2]):
    torch.testing.assert_close(program(*inputs), expected)
"""


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("kind", [Tagger, LanguageModel, UserModel])
def test_a_saved_export_runs_in_another_process(tmp_path: Path, kind: type[torch.nn.Module], strict: bool) -> None:
    if strict and kind is UserModel:
        pytest.skip("torch's strict export takes no function that stands for itself in a graph")
    module = model(kind).eval()
    B, T = torch.export.Dim("B", min=1, max=512), torch.export.Dim("T", min=1, max=4096)
    shapes: Any = {Tagger: ({0: B, 1: T},), LanguageModel: ({0: T, 1: B}, {1: B}), UserModel: ({0: T, 1: B},)}[kind]
    program = torch.export.export(module, example(kind, 7, 3), dynamic_shapes=shapes, strict=strict)
    assert any("ohlol" in str(node.target) for node in program.graph.nodes)
    torch.export.save(program, tmp_path / "model.pt2")
    cases = [(example(kind, T, B), module(*example(kind, T, B))) for T, B in ((4, 9), (1, 1), (11, 2))]
    torch.save(cases, tmp_path / "cases.pt")
    subprocess.run([sys.executable, "-c", _LOAD, tmp_path / "model.pt2", tmp_path / "cases.pt"], check=True)


@pytest.mark.parametrize("is_autocast", [False, True])
@pytest.mark.parametrize("kind", [LanguageModel, UserModel])  # eager LSTMs under autocast need oneDNN's bfloat16
def test_an_export_without_gradients_and_under_autocast(kind: type[torch.nn.Module], is_autocast: bool) -> None:
    """What reading a cell changes of both is no node of the program."""
    module, inputs, saved = model(kind).eval(), example(kind, 7, 3), io.BytesIO()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=is_autocast):
        torch.export.save(torch.export.export(module, inputs), saved)
        saved.seek(0)
        loaded, eager = torch.export.load(saved).module()(*inputs), module(*inputs)
    tolerance = 0.05 if is_autocast else 1e-5  # eager rounds each step to bfloat16 there
    torch.testing.assert_close(loaded, eager, atol=tolerance, rtol=tolerance)  # the dtypes, too


def test_an_export_can_be_trained() -> None:
    module = model(Tagger)
    inputs = example(Tagger, 7, 3)
    exported = torch.export.export(module, inputs).module()
    for run in (exported, module):
        run(*inputs).square().sum().backward()
    for (name, a), b in zip(module.named_parameters(), exported.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=name)


@pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning")  # of torch's own copy of a graph
def test_a_package_of_aot_inductor_runs_where_ohlol_is_imported(tmp_path: Path) -> None:
    module = model(Tagger).eval()
    shapes = ({0: torch.export.Dim("B", min=1), 1: torch.export.Dim("T", min=1)},)
    program = torch.export.export(module, example(Tagger, 7, 3), dynamic_shapes=shapes)
    package = torch._inductor.aoti_compile_and_package(program, package_path=str(tmp_path / "model.pt2"))
    inputs = example(Tagger, 5, 2)
    torch.testing.assert_close(torch._inductor.aoti_load_package(package)(*inputs), module(*inputs))


def test_an_export_without_our_operators() -> None:
    """The layers of torch, for a program that has no ohlol; torch exports them with a fixed number of steps."""
    module = model(Tagger)
    plain = ohlol.restore(copy.deepcopy(module))
    program = torch.export.export(plain, example(Tagger, 7, 3), dynamic_shapes=({0: torch.export.Dim("B", min=1)},))
    assert not any("ohlol" in str(node.target) for node in program.graph.nodes)
    inputs = example(Tagger, 7, 5)
    torch.testing.assert_close(program.module()(*inputs), module(*inputs))
