"""torch's own samples of its six recurrent modules, run with those of ohlol."""

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing._internal.common_modules import module_db

from ohlol import nn

from .tolerances import assert_same

OURS = {**nn.LAYER_CLASSES, **nn.CELL_CLASSES}
INFOS = [info for info in module_db if info.module_cls in OURS]
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")
DTYPES = (torch.float32, torch.float64)


def _samples(info: Any, dtype: torch.dtype, grad: bool, training: bool = True) -> list[Any]:
    return list(info.module_inputs_func(info, device="cpu", dtype=dtype, requires_grad=grad, training=training))


def _built(info: Any, sample: Any, dtype: torch.dtype) -> tuple[torch.nn.Module, torch.nn.Module]:
    args, kwargs = sample.constructor_input.args, sample.constructor_input.kwargs
    torch.manual_seed(1)
    theirs = info.module_cls(*args, **kwargs).to(dtype)
    torch.manual_seed(1)
    ours = OURS[info.module_cls](*args, **kwargs).to(dtype)
    assert all(torch.equal(a, b) for a, b in zip(theirs.parameters(), ours.parameters(), strict=True))
    return theirs, ours


def _flat(result: Any) -> list[Tensor]:
    if isinstance(result, Tensor):
        return [result]
    if isinstance(result, torch.nn.utils.rnn.PackedSequence):
        return [result.data]
    return [t for part in result for t in _flat(part)]


def test_all_modules_have_samples() -> None:
    assert {info.module_cls for info in INFOS} == set(OURS)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("info", INFOS, ids=lambda i: i.name)
def test_layers_and_their_copies_equal_torch(info: Any, dtype: torch.dtype) -> None:
    samples = _samples(info, dtype, False)
    assert samples
    for sample in samples:
        theirs, ours = _built(info, sample, dtype)
        args, kwargs = sample.forward_input.args, sample.forward_input.kwargs
        expected = _flat(theirs(*args, **kwargs))
        twins = [ours, copy.deepcopy(ours), pickle.loads(pickle.dumps(ours)), OURS[info.module_cls].__new__(type(ours))]
        twins[-1].__dict__ = theirs.__dict__
        for twin in twins:
            for a, b in zip(_flat(twin(*args, **kwargs)), expected, strict=True):
                assert_same(sample.desc or info.name, a, b, dtype)
        assert list(ours.state_dict()) == list(theirs.state_dict())
        assert repr(ours) == repr(theirs)


@pytest.mark.parametrize("info", INFOS, ids=lambda i: i.name)
def test_gradients_pass_gradcheck(info: Any) -> None:
    for sample in _samples(info, torch.float64, True):
        _, ours = _built(info, sample, torch.float64)
        given = [*sample.forward_input.args, *sample.forward_input.kwargs.values()]
        leaves = [t for g in given for t in _flat(g) if t.requires_grad] if given else []
        leaves = [t.detach().requires_grad_() for t in leaves][:1]
        if not leaves or not isinstance(given[0], Tensor):
            continue

        def run(x: Tensor, ours: torch.nn.Module = ours, sample: Any = sample) -> tuple[Tensor, ...]:
            return tuple(_flat(ours(x, *sample.forward_input.args[1:], **sample.forward_input.kwargs)))

        assert torch.autograd.gradcheck(run, leaves)
        assert torch.autograd.gradgradcheck(run, leaves)
