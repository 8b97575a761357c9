"""A pytest plugin that puts ours in the place of torch's recurrent modules before a test file is imported.

`pytest -p drop_in FILE` runs tests that others wrote for `torch.nn`: `RNN`, `LSTM`, `GRU` and their cells are replaced,
by name, in `torch.nn`, `torch.nn.modules` and `torch.nn.modules.rnn`. At the end the run fails if our forward was never
reached, or the kernels never were.
"""

from typing import Any

import pytest
import torch

from ohlol import nn, ops
from ohlol.nn import layers

REACHED = {"forward": 0, "kernel": 0}


def _replace() -> None:
    run = layers._run

    def counted(*args: Any) -> Any:
        REACHED["kernel"] += 1
        return run(*args)

    layers._run = counted
    for base, ours in [(kind.__bases__[-1], kind) for kind in (*nn.LAYER_CLASSES.values(), *nn.CELL_CLASSES.values())]:
        plain = ours.forward

        def forward(self: Any, *args: Any, _plain: Any = plain, **kwargs: Any) -> Any:
            REACHED["forward"] += 1
            return _plain(self, *args, **kwargs)

        ours.forward = forward
        for home in (torch.nn, torch.nn.modules, torch.nn.modules.rnn):
            setattr(home, base.__name__, ours)


_replace()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Nothing is shown by tests that went past us."""
    if not REACHED["forward"] or (ops.available() and not REACHED["kernel"]):
        session.exitstatus = 1


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how often we were reached."""
    terminalreporter.write_line(f"drop-in: forward {REACHED['forward']}, kernels {REACHED['kernel']}")
