"""The vector tanh and sigmoid compared with numpy's in higher precision."""

import numpy as np
import pytest
import torch

from ohlol.ops import backend

from .tolerances import ULP

LIMITS = {torch.float32: (87.0, 20.0), torch.float64: (708.0, 40.0)}


def _apply(code: int, x: torch.Tensor) -> torch.Tensor:
    assert backend.KERNEL is not None
    y = torch.full_like(x, float("nan"))
    run = backend.KERNEL.apply_float32 if x.dtype == torch.float32 else backend.KERNEL.apply_float64
    run(code, x.data_ptr(), y.data_ptr(), x.numel())
    return y


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["tanh", "sigmoid"])
def test_errors_are_within_the_stated_units_of_the_last_place(variant: str, name: str, dtype: torch.dtype) -> None:
    far, near = LIMITS[dtype]
    tiny = torch.logspace(-30, 0, 40_000, dtype=torch.float64)
    x = torch.cat([torch.linspace(-far, far, 100_000, dtype=torch.float64), tiny, -tiny,
                   torch.linspace(-near, near, 200_001, dtype=torch.float64)]).to(dtype)  # fmt: skip
    exact = x.double().numpy().astype(np.longdouble)
    truth = np.tanh(exact) if name == "tanh" else 1 / (1 + np.exp(-exact))
    rounded = truth.astype(np.float32 if dtype == torch.float32 else np.float64)
    error = np.abs(_apply(0 if name == "tanh" else 1, x).numpy().astype(np.longdouble) - truth) / np.spacing(
        np.abs(rounded)
    )
    assert error.max() <= ULP[name, dtype], f"{error.max():.2f} ulp at {x[int(error.argmax())]}"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_arguments_give_the_values_of_torch(variant: str, dtype: torch.dtype) -> None:
    inf, nan = float("inf"), float("nan")
    x = torch.tensor([0.0, -0.0, inf, -inf, nan, 1e30, -1e30, 1000.0, -1000.0], dtype=dtype)
    tanh, sigmoid = _apply(0, x), _apply(1, x)
    assert torch.equal(tanh.nan_to_num(7), torch.tanh(x).nan_to_num(7))
    assert tanh.signbit().tolist()[:2] == [False, True]
    assert torch.equal(sigmoid.nan_to_num(7), torch.sigmoid(x).nan_to_num(7))
    smallest = torch.finfo(dtype).tiny
    deep = torch.linspace(-800, -80, 999, dtype=dtype)
    assert ((_apply(1, deep) - torch.sigmoid(deep)).abs() <= 4 * smallest + 1e-5 * torch.sigmoid(deep)).all()
