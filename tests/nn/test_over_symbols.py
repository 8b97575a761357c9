"""A layer over symbols by lookup equals the layer over their vectors: outputs, states and every gradient."""

import pytest
import torch
from torch.nn.functional import one_hot
from torch.nn.utils.rnn import PackedSequence

from ohlol import nn
from ohlol.data.batches import pack
from ohlol.ops import available

pytestmark = pytest.mark.skipif(not available(), reason="the compiled kernels are not installed")
V, I, H = 7, 5, 6
KINDS = [("rnn", 1, False), ("gru", 2, False), ("lstm", 1, True), ("lstm", 2, True), ("gru", 1, True)]


def states_of(layer: torch.nn.RNNBase, batch: int) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    rows = layer.num_layers * (2 if layer.bidirectional else 1)
    h = torch.randn(rows, batch, H, dtype=torch.float64)
    return (h, torch.randn_like(h)) if layer.mode == "LSTM" else h


@pytest.mark.parametrize(("cell", "layers", "both"), KINDS)
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("embedded", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_lookup_equals_vectors(cell: str, layers: int, both: bool, ragged: bool, embedded: bool, bias: bool) -> None:
    torch.manual_seed(3)
    lengths = torch.tensor([6, 5, 5, 2] if ragged else [5, 5, 5, 5]).numpy()
    batch_sizes = torch.from_numpy(pack(lengths * 0, lengths)[1])
    ids = torch.randint(V, (int(lengths.sum()),))
    vectors = torch.randn(V, I, dtype=torch.float64, requires_grad=True) if embedded else None
    layer = getattr(nn, cell.upper())(I if embedded else V, H, layers, bidirectional=both, bias=bias).double()
    hx = states_of(layer, 4)
    dense = vectors[ids] if vectors is not None else one_hot(ids, V).double()
    wanted, wanted_state = layer(PackedSequence(dense, batch_sizes), hx)
    inputs = [*layer.parameters(), *([vectors] if vectors is not None else [])]
    weight = torch.randn_like(wanted.data)
    expected = torch.autograd.grad((wanted.data * weight).sum(), inputs)

    found = nn.over_symbols(layer, ids if ragged else ids.view(5, 4), vectors, batch_sizes, hx)
    assert found is not None
    output = found[0].reshape(len(ids), -1)
    torch.testing.assert_close(output, wanted.data, rtol=0, atol=1e-12)
    for ours, theirs in zip(flat(found[1]), flat(wanted_state), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    for ours, theirs in zip(torch.autograd.grad((output * weight).sum(), inputs), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-11)


def flat(state: torch.Tensor | tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return (state,) if isinstance(state, torch.Tensor) else state


def test_no_table_larger_than_the_batch_is_built() -> None:
    layer = nn.GRU(V, H)
    assert nn.over_symbols(layer, torch.zeros(V - 1, 1, dtype=torch.long), None, torch.ones(V - 1).long()) is None
    assert nn.over_symbols(layer, torch.zeros(V, 1, dtype=torch.long), None, torch.ones(V).long()) is not None


def test_gradients_are_equal_bit_for_bit() -> None:
    torch.manual_seed(0)
    layer, ids = nn.LSTM(V, 64), torch.randint(V, (50, 16))
    sizes = torch.full((50,), 16)
    grads = [
        torch.autograd.grad(nn.over_symbols(layer, ids, None, sizes)[0].square().sum(), list(layer.parameters()))
        for _ in range(3)
    ]
    for again in grads[1:]:
        assert all(torch.equal(a, b) for a, b in zip(grads[0], again, strict=True))


@pytest.mark.parametrize(
    ("ids", "error"),
    [
        ([10**6] * 9, IndexError),
        ([-1] * 9, IndexError),
        (torch.zeros(9, dtype=torch.int32), TypeError),
        (torch.zeros(9, dtype=torch.bool), TypeError),
        (torch.zeros(9), TypeError),
    ],
)
def test_wrong_ids_are_refused(ids: list[int] | torch.Tensor, error: type[Exception]) -> None:
    symbols = torch.as_tensor(ids)
    for vectors in (None, torch.zeros(V, I)):
        layer = nn.GRU(V if vectors is None else I, H)
        with pytest.raises(error):
            nn.over_symbols(layer, symbols[:, None], vectors, None)
        with pytest.raises(error):
            nn.over_symbols(layer, symbols, vectors, torch.tensor([5, 4]))
    with pytest.raises(ValueError, match="need batch_sizes"):
        nn.over_symbols(nn.GRU(V, H), torch.zeros(9).long(), None, None)


def test_ids_with_batch_first() -> None:
    layer, ids = nn.GRU(V, H, batch_first=True), torch.randint(V, (2, 9))
    state = torch.randn(1, 2, H)
    result = nn.over_symbols(layer, ids, None, None, state)
    assert result is not None
    torch.testing.assert_close(result[0], layer(one_hot(ids, V).float(), state)[0])
