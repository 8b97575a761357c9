"""A pytest plugin that replaces torch's recurrent modules by ohlol's before a test file is imported.

`pytest -p drop_in FILE` runs the tests of another project for `torch.nn`: `RNN`, `LSTM`, `GRU` and their cells are
replaced by name in `torch.nn`, `torch.nn.modules` and `torch.nn.modules.rnn`. The run fails if ohlol's forward or the
kernels were never called.
"""

from typing import Any

import pytest
import torch

from ohlol import nn, ops
from ohlol.nn import layers

CALLS = {"forward": 0, "kernel": 0}


def _replace() -> None:
    run = layers._run

    def counted(*args: Any) -> Any:
        CALLS["kernel"] += 1
        return run(*args)

    layers._run = counted
    for base, layer_class in [
        (kind.__bases__[-1], kind) for kind in (*nn.LAYER_CLASSES.values(), *nn.CELL_CLASSES.values())
    ]:
        plain = layer_class.forward

        def forward(self: Any, *args: Any, _plain: Any = plain, **kwargs: Any) -> Any:
            CALLS["forward"] += 1
            return _plain(self, *args, **kwargs)

        layer_class.forward = forward
        for module in (torch.nn, torch.nn.modules, torch.nn.modules.rnn):
            setattr(module, base.__name__, layer_class)


_replace()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that never called ohlol, since it tests nothing."""
    if not CALLS["forward"] or (ops.available() and not CALLS["kernel"]):
        session.exitstatus = 1


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the number of calls."""
    terminalreporter.write_line(f"drop-in: forward {CALLS['forward']}, kernels {CALLS['kernel']}")
