"""Tables of symbols, streams and text generation equal the layers that they replace."""

import itertools

import pytest
import torch
from torch.nn.functional import embedding, linear, one_hot

from ohlol import nn, ops
from ohlol.nn import benchmark
from ohlol.ops.gather import scatter_rows
from ohlol.ops.stepping import sample, uniform

from .helpers import CELLS, Case
from .tolerances import assert_same

V = 7


def _spec(case: Case) -> ops.LayerSpec:
    return ops.LayerSpec(case.cell, case.num_layers, 2 if case.bidirectional else 1, case.bias, case.batch_first)


@pytest.mark.parametrize(("both", "batch_first", "packed"), list(itertools.product((False, True), repeat=3)))
@pytest.mark.parametrize("cell", CELLS)
def test_ids_are_one_hot_rows(variant: str, cell: str, both: bool, batch_first: bool, packed: bool) -> None:
    batch_first = batch_first and not packed
    case = Case(cell, inputs=V, num_layers=2, bidirectional=both, batch_first=batch_first)
    theirs, _ = case.layers()
    weights = list(theirs.parameters())
    per = len(weights) // (4 if both else 2)
    sizes = torch.tensor([3, 2, 2, 1]) if packed else None
    ids = torch.randint(V, (8,) if packed else (3, 5) if batch_first else (5, 3))
    x = one_hot(ids, V).double()
    given = torch.nn.utils.rnn.PackedSequence(x, sizes) if packed else x
    expected, final = theirs(given)
    expected = expected.data if packed else expected
    tables = [ops.one_hot_table(weights[d * per]) if d * per == k else w
              for k, w in enumerate(weights) for d in [1 if both and k == per else 0]]  # fmt: skip
    found = ops.recurrence(ids, None, None, tables, _spec(case), sizes)
    final = final if isinstance(final, tuple) else (final,)
    for a, b in zip(found, (expected, *final), strict=True):
        assert_same("ids", a, b, torch.float64)
    weighting = torch.randn(expected.shape, dtype=torch.float64)
    old = torch.autograd.grad(expected, weights, weighting, retain_graph=True)
    new = torch.autograd.grad(found[0], weights, weighting, retain_graph=True)
    for a, b in zip(new, old, strict=True):
        assert_same("gradient by ids", a, b, torch.float64)
    again = torch.autograd.grad(found[0], weights, weighting, create_graph=True)
    for a, b in zip(again, old, strict=True):
        assert_same("differentiable gradient by ids", a, b, torch.float64)


def test_embedded_symbols() -> None:
    vectors = torch.randn(V, 5, dtype=torch.float64, requires_grad=True)
    theirs, _ = Case("gru").layers()
    weights, ids = list(theirs.parameters()), torch.randint(V, (5, 3))
    table = ops.embedding_table(vectors, weights[0])
    found = ops.recurrence(ids, None, None, [table, *weights[1:]], ops.LayerSpec("gru"))[0]
    expected = theirs(embedding(ids, vectors))[0]
    assert_same("output", found, expected, torch.float64)
    for a, b in zip(*(torch.autograd.grad(o.sum(), [vectors, *weights]) for o in (found, expected)), strict=True):
        assert_same("gradient", a, b, torch.float64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scatter_does_not_depend_on_the_number_of_threads(dtype: torch.dtype) -> None:
    grad, ids = torch.randn(999, 33, dtype=dtype), torch.randint(V, (999,))
    first = scatter_rows(grad, ids, V + 2)
    assert_same("sum", first, torch.zeros(V + 2, 33, dtype=dtype).index_add_(0, ids, grad), dtype)
    for threads in (2, 5):
        torch.set_num_threads(threads)
        assert torch.equal(scatter_rows(grad, ids, V + 2), first)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_single_steps_equal_the_sequence(variant: str, cell: str, bias: bool, dtype: torch.dtype) -> None:
    case = Case(cell, T=6, B=1, H=37, num_layers=3, bias=bias, dtype=dtype, state=False)
    layer, _ = case.layers()
    (x,) = case.tensors()
    out, final = layer(x)
    stream = ops.SequenceStepper(list(layer.parameters()), _spec(case))
    for _ in range(2):
        for t in range(case.T):
            assert_same("step", stream.step(x[t, 0].contiguous()), out[t, 0], dtype)
        assert_same("h", stream.h, (final[0] if cell == "lstm" else final)[:, 0], dtype)
        stream.reset()


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_batched_steps_equal_the_sequences(
    variant: str, threaded: None, cell: str, bias: bool, dtype: torch.dtype, threads: int
) -> None:
    """Five of seven sequences, different ones at each step; by vectors, by ids, with a head and without."""
    torch.set_num_threads(threads)
    case = Case(cell, T=6, B=5, H=37, num_layers=3, bias=bias, dtype=dtype, state=False)
    layer, _ = case.layers()
    places, live = [6, 0, 3, 2, 5], [[0, 1, 2, 3, 4], [2], [4, 0], [0, 1, 2, 3, 4], [3, 1, 4], [1, 2]]
    vectors, head = torch.randn(V, 5, dtype=dtype), torch.nn.Linear(37, 90).to(dtype)
    ids = torch.randint(V, (case.T, case.B))
    weights = [p.detach() for p in layer.parameters()]
    with torch.no_grad():
        wanted = []
        for b in range(case.B):
            read = [t for t in range(case.T) if b in live[t]]
            wanted.append(dict(zip(read, layer(vectors[ids[read, b]][:, None])[0][:, 0], strict=True)))
        for table in (None, ops.embedding_table(vectors, weights[0])):
            for scored in (False, True):
                many = ops.BatchStepper(weights, _spec(case), table, (head.weight, head.bias) if scored else None)
                h = torch.zeros(7, 3, 37, dtype=dtype)
                c = torch.zeros_like(h) if cell == "lstm" else None
                for t in range(case.T):
                    given = [int(ids[t, b]) for b in live[t]]
                    inputs = vectors[given] if table is None else given
                    found, best = many.step([places[b] for b in live[t]], inputs, h, c)
                    expected = torch.stack([wanted[b][t] for b in live[t]])
                    expected = head(expected) if scored else expected
                    assert_same("scores", found, expected, dtype)
                    assert best == found.argmax(dim=1).tolist()
                assert not h[[1, 4]].any()


@pytest.mark.parametrize("how", [(1.0, 0, 1.0), (0.7, 3, 1.0), (1.3, 0, 0.8), (0.9, 4, 0.6), (0.0, 0, 1.0)])
@pytest.mark.parametrize("cell", CELLS)
def test_text_equals_that_of_a_python_loop(cell: str, how: tuple[float, int, float]) -> None:
    """The Python loop runs torch's embedding, layer and head one step at a time."""
    torch.manual_seed(2)
    case = Case(cell, inputs=6, H=20, num_layers=2, dtype=torch.float64)
    layer, _ = case.layers()
    vectors, head = torch.randn(V, 6, dtype=torch.float64), torch.nn.Linear(20, V).double()
    weights = [p.detach() for p in layer.parameters()]
    table = ops.embedding_table(vectors, weights[0])
    stream = ops.SequenceStepper(weights, _spec(case), table, (3 * head.weight, head.bias))
    for seed in (0, 1, 2**63 + 5):
        stream.reset()
        written = stream.generate(2, 60, *how, seed=seed)
        symbol, state, text = 2, None, []
        with torch.no_grad():
            for n in range(60):
                out, state = layer(vectors[symbol].view(1, 1, -1), state)
                symbol = sample(linear(out[0, 0], 3 * head.weight, head.bias), uniform(seed, n), *how)
                text.append(symbol)
        assert written == text
    assert how[0] == 0 or len(set(written)) > 1


def test_uniform_and_sample() -> None:
    marks = torch.tensor([uniform(3, n) for n in range(4000)])
    assert 0 <= marks.min() < marks.max() < 1
    assert abs(marks.mean().item() - 0.5) < 0.02
    scores = torch.tensor([1.0, 3.0, 2.0, 3.0])
    assert sample(scores, 0.999, temperature=0) == 1
    assert {sample(scores, m / 50, top_k=2) for m in range(50)} == {1, 3}
    assert {sample(scores, m / 50, top_p=0.3) for m in range(50)} == {1}
    counts = [sum(sample(scores, (m + 0.5) / 1000) == k for m in range(1000)) for k in range(4)]
    assert all(abs(n / 1000 - p) <= 0.002 for n, p in zip(counts, torch.softmax(scores, 0).tolist(), strict=True))


def test_invalid_arguments_of_streams_are_refused() -> None:
    layer = nn.GRU(3, 4)
    weights = list(layer.parameters())
    with pytest.raises(ValueError, match="one direction"):
        ops.SequenceStepper(weights, ops.LayerSpec("gru", directions=2))
    with pytest.raises(ValueError, match="float16"):
        ops.SequenceStepper([w.half() for w in weights], ops.LayerSpec("gru"))
    stream = ops.SequenceStepper(weights, ops.LayerSpec("gru"))
    with pytest.raises(ValueError, match="reads 3 numbers"):
        stream.step(torch.ones(4))
    with pytest.raises(ValueError, match="there is no table"):
        stream.step(0)
    with pytest.raises(ValueError, match="table and a head"):
        stream.generate(0, 1)


def test_bench_measures_and_checks_parity(monkeypatch: pytest.MonkeyPatch) -> None:
    [row] = benchmark.run(["lstm"], [benchmark.Size(3, 2, 4, 5)], [True], seconds=0.01)
    assert row.ratio == row.torch / row.ours
    assert row.matmul_share is not None
    assert row.matmul_share > 0
    assert row.backend.startswith("kernel")

    def wrong(self: nn.LSTM, x: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        out, final = torch.nn.LSTM.forward(self, x)
        return out * 1.001, final

    monkeypatch.setattr(nn.LSTM, "forward", wrong)
    with pytest.raises(benchmark.ParityError, match="off by"):
        benchmark.run(["lstm"], [benchmark.Size(3, 2, 4, 5)], [False], seconds=0.01)
