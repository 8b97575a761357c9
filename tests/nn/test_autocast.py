"""The rules of autocast against torch's layers and the cells' equations."""

import pytest
import torch

from ohlol.cells import CELLS, CellSpec, Weights
from ohlol.nn.autocast import runs_in_onednn

SPECS = [spec for spec in CELLS.values() if spec.kernel is not None]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_the_state_that_is_added_decides(spec: CellSpec) -> None:
    """The dtype of the next state by the equations under autocast."""
    assert spec.step is not None
    G = len(spec.gates)
    weights = Weights(torch.ones(G * 2, 3), torch.ones(G * 2, 2), torch.ones(G * 2), torch.ones(G * 2))
    for dtype in (torch.float32, torch.bfloat16):
        with torch.autocast("cpu", torch.bfloat16):
            state = spec.step(
                torch.ones(2, 3), state=(torch.ones(2, 2, dtype=dtype),) * len(spec.states), weights=weights
            )
        assert state[-1].dtype is (dtype if spec.adds_state else torch.bfloat16)


@pytest.mark.filterwarnings("ignore:TF32 acceleration:UserWarning")
def test_onednn_can_be_switched_off() -> None:
    if not torch.backends.mkldnn.is_available():
        assert not runs_in_onednn(torch.float32)
        return
    with torch.backends.mkldnn.flags(enabled=True):
        assert runs_in_onednn(torch.float32)
        assert not runs_in_onednn(torch.float64)
    with torch.backends.mkldnn.flags(enabled=False):
        assert not runs_in_onednn(torch.float32)


def test_training_in_float16_is_not_run_in_onednn() -> None:
    assert not runs_in_onednn(torch.float16)
