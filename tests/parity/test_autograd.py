"""Gradients for any inputs, strides and subsets of parameters, and the calls that torch's own path handles."""

import copy
import itertools
import pickle

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_sequence

from ohlol import nn, restore

from .helpers import CELLS, Case, call, names
from .tolerances import assert_same

LAYERS = (nn.RNN, nn.GRU, nn.LSTM)
F64 = torch.float64


def _pair(case: Case) -> tuple[torch.nn.Module, torch.nn.Module, list[Tensor]]:
    torch.manual_seed(3)
    return *case.layers(), case.tensors()


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_any_subset_requires_grad(cell: str, single: bool) -> None:
    case = Case(cell, num_layers=1 if single else 2, bidirectional=not single)
    theirs, ours, tensors = _pair(case)
    count = len(tensors) + len(list(ours.parameters()))
    for chosen in ([k] for k in range(count)):
        found: list[list[Tensor]] = []
        for layer in (theirs, ours):
            given = [t.clone() for t in tensors]
            leaves = [*given, *layer.parameters()]
            for k, leaf in enumerate(leaves):
                leaf.requires_grad_(k in chosen)
            results = call(case, layer, given)
            torch.manual_seed(1)
            loss = sum((r * torch.randn(r.shape, dtype=F64)).sum() for r in results)
            assert isinstance(loss, Tensor)
            found.append(list(torch.autograd.grad(loss, [leaves[k] for k in chosen])))
        for a, b in zip(*found, strict=True):
            assert_same(f"alone: {chosen}", b, a, F64)


@pytest.mark.parametrize("which", ["output", "h_n", "c_n"])
@pytest.mark.parametrize("kind", ["expanded", "strided", "batch first"])
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_of_any_stride(cell: str, kind: str, which: str) -> None:
    if which == "c_n" and cell != "lstm":
        which = "h_n"
    for both in (False, True):
        case = Case(cell, bidirectional=both, batch_first=kind == "batch first")
        theirs, ours, tensors = _pair(case)
        found: list[tuple[Tensor, ...]] = []
        for layer in (theirs, ours):
            inputs = [t.clone().requires_grad_() for t in tensors]
            result = call(case, layer, inputs)[names(case, layer).index(which)]
            if kind == "expanded":
                grad = torch.tensor(0.7, dtype=F64).expand(result.shape)
            else:
                torch.manual_seed(2)
                grad = torch.randn(*result.shape[:-1], 2 * result.size(-1), dtype=F64)[..., ::2]
            leaves = [*inputs, *layer.parameters()]
            found.append(torch.autograd.grad(result, leaves, grad, allow_unused=True, materialize_grads=True))
        for a, b in zip(*found, strict=True):
            assert_same(which, b, a, F64)


@pytest.mark.parametrize("cell", CELLS)
def test_inputs_of_any_stride(cell: str) -> None:
    case = Case(cell, inputs=4)
    theirs, ours, (_, *state) = _pair(case)
    wide = torch.randn(5, 3, 8, dtype=F64)
    for given in (
        wide[..., ::2],
        wide[..., :4],
        wide.transpose(0, 1)[:, ::2, 1:5],
        torch.randn(4, dtype=F64).expand(5, 3, 4),
    ):
        B = given.size(1)
        start = [torch.randn(B, 1, case.H, dtype=F64).transpose(0, 1) for _ in state]
        for a, b in zip(call(case, ours, [given, *start]), call(case, theirs, [given, *start]), strict=True):
            assert_same("strided input", a, b, F64)


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_gradcheck(cell: str, both: bool) -> None:
    case = Case(cell, T=3, B=2, inputs=2, H=3, bidirectional=both, num_layers=2 if both else 1)
    _, ours, tensors = _pair(case)
    leaves = tuple(t.requires_grad_() for t in tensors)
    if cell == "rnn_relu":
        torch.manual_seed(8)
    assert torch.autograd.gradcheck(lambda *t: tuple(call(case, ours, list(t))), leaves)
    assert torch.autograd.gradgradcheck(lambda *t: tuple(call(case, ours, list(t))), leaves)


@pytest.mark.parametrize("cell", CELLS)
def test_second_derivative_of_packed_and_dropped(cell: str) -> None:
    """Double backward goes through torch's path, with the dropout masks of the forward pass."""
    case = Case(cell, T=4, B=3, H=4, lengths=(2, 4, 1), num_layers=2, bidirectional=True)
    theirs, ours, tensors = _pair(case)
    found: list[tuple[Tensor, ...]] = []
    for layer in (theirs, ours):
        layer.dropout = 0.5
        inputs = [t.clone().requires_grad_() for t in tensors]
        torch.manual_seed(11)
        out = call(case, layer, inputs)[0]
        leaves = [*inputs, *layer.parameters()]
        first = torch.autograd.grad((out**2).sum(), leaves, create_graph=True)
        second = torch.autograd.grad(sum((g**2).sum() for g in first), leaves)
        found.append((out, *first, *second))
    for a, b in zip(*found, strict=True):
        assert_same("double backward", b, a, F64)


@pytest.mark.parametrize(("cell", "batch_first"), list(itertools.product(CELLS, (False, True))))
def test_dropout_masks_equal_those_of_torch(cell: str, batch_first: bool) -> None:
    case = Case(cell, num_layers=3, bidirectional=True, batch_first=batch_first)
    theirs, ours, tensors = _pair(case)
    for p in (0.3, 1.0):
        results = []
        for layer in (theirs, ours):
            layer.dropout = p
            torch.manual_seed(4)
            results.append(call(case, layer, tensors))
        for a, b in zip(*results, strict=True):
            assert_same(f"dropout {p}", b, a, F64)
        assert torch.equal(call(case, ours.eval(), tensors)[0], call(case, ours, tensors)[0])
        ours.train()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("place", ["x", "state", "weight"])
@pytest.mark.parametrize("cell", CELLS)
def test_nan_propagates(variant: str, cell: str, place: str, value: float) -> None:
    case = Case(cell, B=4, H=18, dtype=torch.float32)
    theirs, ours, tensors = _pair(case)
    if place == "weight":
        for layer in (theirs, ours):
            with torch.no_grad():
                layer.weight_hh_l0[3, 2] = value
    else:
        tensors[0 if place == "x" else 1][-1, 1, 2] = value
    with torch.no_grad():
        for name, a, b in zip(names(case, ours), call(case, ours, tensors), call(case, theirs, tensors), strict=False):
            assert_same(name, a, b, torch.float32)


def test_in_place_changes_are_an_error() -> None:
    layer = nn.LSTM(3, 4)
    x = torch.randn(5, 2, 3)
    out, _ = layer(x)
    with torch.no_grad():
        layer.weight_hh_l0.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


def dtype_or_error(layer: torch.nn.RNNBase, x: Tensor) -> torch.dtype | str:
    """The dtype of the output, or the error: oneDNN has no bfloat16 for LSTMs on some processors."""
    try:
        return layer(x)[0].dtype
    except (RuntimeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("kind", LAYERS)
def test_unsupported_calls_use_torch(kind: type[torch.nn.RNNBase]) -> None:
    layer, x = kind(3, 4), torch.randn(5, 2, 3)
    theirs = kind.__bases__[-1](3, 4)
    theirs.load_state_dict(layer.state_dict())
    assert nn.explain_backend(layer, x).startswith("kernel")
    assert "functional" not in nn.explain_backend(layer, x)
    assert "bfloat16" in nn.explain_backend(copy.deepcopy(layer).bfloat16(), x.bfloat16())
    assert "meta" in nn.explain_backend(copy.deepcopy(layer).to("meta"), x)
    assert "features" in nn.explain_backend(layer, torch.randn(5, 2, 7))
    assert "empty" in nn.explain_backend(layer, torch.randn(5, 0, 3))
    assert layer(torch.randn(5, 0, 3))[0].shape == (5, 0, 4)
    with torch.autocast("cpu"):
        assert "autocast" in nn.explain_backend(layer, x)
        assert dtype_or_error(layer, x) == dtype_or_error(theirs, x)
    for wrong in (torch.randn(5, 2, 7), torch.randn(5), torch.randn(5, 2, 3, dtype=F64), torch.randn(0, 2, 3)):
        error = dtype_or_error(layer, wrong)
        assert isinstance(error, str)
        assert error == dtype_or_error(theirs, wrong)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")  # once a process
def test_projections_use_torch() -> None:
    layer = nn.LSTM(3, 6, proj_size=2)
    assert "proj_size" in nn.explain_backend(layer, torch.ones(4, 1, 3))
    assert layer(torch.ones(4, 1, 3))[0].shape == (4, 1, 2)


def test_a_single_step_with_large_weights_uses_torch() -> None:
    x = torch.randn(1, 1, 3)
    assert "one step of one sequence" in nn.explain_backend(nn.GRU(3, 200), x)
    assert "one step of one sequence" in nn.explain_backend(nn.RNN(3, 300), x[0])
    for layer, given in ((nn.GRU(3, 100), x), (nn.LSTM(3, 300), x), (nn.GRU(3, 200), torch.randn(2, 1, 3))):
        assert nn.explain_backend(layer, given).startswith("kernel")


@pytest.mark.parametrize("kind", LAYERS)
def test_functional_call_and_transforms(kind: type[torch.nn.RNNBase]) -> None:
    layer, x = kind(3, 4, dtype=F64), torch.randn(5, 2, 3, dtype=F64)
    theirs = kind.__bases__[-1](3, 4, dtype=F64)
    other = {n: torch.randn_like(p) for n, p in layer.named_parameters()}
    ours, expected = (torch.func.functional_call(m, other, (x,))[0] for m in (layer, theirs))
    assert_same("functional_call", ours, expected, F64)

    def loss(m: torch.nn.Module, weights: dict[str, Tensor], given: Tensor) -> Tensor:
        return torch.func.functional_call(m, weights, (given,))[0].square().sum()

    ours, expected = (torch.func.grad(loss, argnums=1)(m, other, x) for m in (layer, theirs))
    for name in other:
        assert_same(name, ours[name], expected[name], F64)
    plain = torch.autograd.functional.jacobian(lambda v: layer(v)[0].sum(0), x)
    assert_same(
        "jacobian", plain, torch.autograd.functional.jacobian(lambda v: kind.forward(layer, v)[0].sum(0), x), F64
    )


@pytest.mark.parametrize("kind", LAYERS)
def test_deepcopy_and_save(kind: type[torch.nn.RNNBase]) -> None:
    layer, x = kind(3, 4, 2, bidirectional=True), torch.randn(5, 2, 3)
    expected = layer(x)[0]
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert type(twin) is kind
        assert torch.equal(twin(x)[0], expected)
    packed = pack_sequence([torch.randn(3, 3), torch.randn(2, 3)])
    assert torch.equal(layer(packed)[0].data, copy.deepcopy(layer)(packed)[0].data)


class _Outer(torch.nn.Module):
    """A model with one layer; TorchScript can compile it but not the layer alone."""

    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)[0]


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.filterwarnings(
    "ignore:The tensor attributes:UserWarning"
)  # of torch's own forward, for its own layers too
@pytest.mark.filterwarnings("ignore:.*torch.jit.*is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit.*is not supported:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_export_trace_and_script(kind: type[torch.nn.RNNBase]) -> None:
    layer, x = kind(3, 4), torch.randn(5, 2, 3)
    expected = layer(x)[0]
    exported = torch.export.export(layer, (x,)).module()
    assert_same("export", exported(x)[0], expected, torch.float32)
    assert_same("trace", torch.jit.trace(layer, (x,))(x)[0], expected, torch.float32)
    assert_same("script", torch.jit.script(_Outer(restore(copy.deepcopy(layer))))(x), expected, torch.float32)
    assert nn.explain_backend(layer, x).startswith("kernel")


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("lengths", [(), (2, 4, 1)])
def test_batched_gradients(cell: str, lengths: tuple[int, ...]) -> None:
    """`is_grads_batched` and a vectorized Jacobian batch the gradients by vmap, which the kernels cannot read."""
    case = Case(cell, T=4, B=3, H=4, lengths=lengths, num_layers=2 if lengths else 1, bidirectional=bool(lengths))
    theirs, ours, tensors = _pair(case)
    results: list[list[Tensor]] = []
    for layer in (theirs, ours):
        leaves = [*(t.clone().requires_grad_() for t in tensors), *layer.parameters()]
        out = call(case, layer, leaves[: len(tensors)])[0]
        grads = torch.randn(5, *out.shape, dtype=F64, generator=torch.Generator().manual_seed(2))
        batched = torch.autograd.grad(out, leaves, grads, is_grads_batched=True)
        jacobian = torch.autograd.functional.jacobian(
            lambda x, layer=layer: call(case, layer, [x, *tensors[1:]])[0], tensors[0], vectorize=True
        )
        results.append([*batched, jacobian])
    for a, b in zip(*results, strict=True):
        assert_same("batched", b, a, F64)


@pytest.mark.parametrize("cell", CELLS)
def test_gradcheck_of_batched_gradients(cell: str) -> None:
    case = Case(cell, T=3, B=2, inputs=2, H=3)
    _, ours, tensors = _pair(case)
    leaves = tuple(t.requires_grad_() for t in tensors)
    assert torch.autograd.gradcheck(lambda *t: tuple(call(case, ours, list(t))), leaves, check_batched_grad=True)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("num_layers", [1, 2])
def test_weights_replaced_before_backward(cell: str, num_layers: int) -> None:
    """`Tensor.data` replaces a saved weight unseen by autograd: an error, not a read outside of its memory."""
    for weight in (torch.zeros(1), torch.zeros(17).double(), torch.zeros(3, 5).half()):
        _, ours, tensors = _pair(Case(cell, num_layers=num_layers))
        out = call(Case(cell, num_layers=num_layers), ours, [t.requires_grad_() for t in tensors])[0]
        ours.weight_hh_l0.data = weight
        with pytest.raises((RuntimeError, IndexError)):
            torch.autograd.grad(out.sum(), tensors)


@pytest.mark.parametrize("cell", CELLS)
def test_batch_sizes_changed_before_backward(cell: str) -> None:
    _, ours, _ = _pair(Case(cell))
    x, sizes = torch.randn(6, 5, dtype=F64, requires_grad=True), torch.tensor([3, 2, 1])
    expected = torch.autograd.grad(ours(PackedSequence(x, sizes))[0].data.sum(), x)[0]
    out = ours(PackedSequence(x, sizes))[0].data.sum()
    sizes[:] = 10**6
    assert torch.equal(torch.autograd.grad(out, x)[0], expected)


@pytest.mark.parametrize("cell", CELLS)
def test_arguments_that_depend_on_each_other(cell: str) -> None:
    """A state computed from the input has its own gradient, in a double backward, too."""
    case = Case(cell, T=4, B=2, inputs=3, H=3)
    theirs, ours, (x, *_) = _pair(case)
    results: list[tuple[Tensor, Tensor]] = []
    for layer in (theirs, ours):
        leaf = x.clone().requires_grad_()
        out = call(case, layer, [leaf, *([leaf[:1].tanh()] * (2 if cell == "lstm" else 1))])[0]
        (grad,) = torch.autograd.grad(out.square().sum(), leaf, create_graph=True)
        results.append((grad, torch.autograd.grad(grad.square().sum(), leaf)[0]))
    for a, b in zip(*results, strict=True):
        assert_same("dependent", b, a, F64)
