"""A pytest plugin that runs a project's tests with torch's recurrent modules, or with ohlol's in their place.

`pytest -p drop_in --layers=ohlol FILE` replaces `RNN`, `LSTM`, `GRU` and their cells by name in `torch.nn`,
`torch.nn.modules` and `torch.nn.modules.rnn`, before any file of the project is imported. `--outcomes=FILE` writes the
outcome of each test and the number of calls that ran in the kernels as JSON. `--define=MODULE.NAME` sets a name to [],
for files that import what another version of torch had.
"""

import importlib
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

OUTCOMES: dict[str, str] = {}
"""The outcome of each test: passed, failed, error, skipped, xfailed or xpassed."""
MESSAGES: dict[str, str] = {}
"""The beginning of the error of each test that failed."""
CALLS: Counter[str] = Counter()
"""Calls of layers by their path: `kernels`, or the reason for torch's."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    parser.addoption("--layers", choices=["torch", "ohlol"], default="ohlol")
    parser.addoption("--outcomes", type=Path)
    parser.addoption("--define", action="append", default=[])


def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Replace the modules before the project's own files are imported."""
    if early_config.known_args_namespace.layers == "ohlol":
        _replace()
    for path in early_config.known_args_namespace.define:
        module, _, name = path.rpartition(".")
        setattr(importlib.import_module(module), name, [])


def _replace() -> None:
    import torch

    from ohlol import nn
    from ohlol.nn import layers

    run, find_reason = layers._run, layers._fallback_reason

    def counted_run(*args: Any) -> Any:
        CALLS["kernels"] += 1
        return run(*args)

    def counted_reason(*args: Any) -> str:
        reason = find_reason(*args)
        if reason:
            CALLS[reason] += 1
        return reason

    layers._run, layers._fallback_reason = counted_run, counted_reason
    for torch_class, own_class in (nn.LAYER_CLASSES | nn.CELL_CLASSES).items():
        for module in (torch.nn, torch.nn.modules, torch.nn.modules.rnn):
            setattr(module, torch_class.__name__, own_class)


def pytest_runtest_setup() -> None:
    """Begin each test with the same random numbers in both runs."""
    import numpy as np
    import torch

    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep the outcome of a test; an error of its setup or teardown is an outcome, too."""
    if report.when != "call" and report.outcome == "passed":
        return
    outcome = report.outcome if report.when == "call" or report.outcome == "skipped" else "error"
    if hasattr(report, "wasxfail"):
        outcome = "xfailed" if report.outcome == "skipped" else "xpassed"
    OUTCOMES[report.nodeid] = outcome
    if report.failed:
        MESSAGES[report.nodeid] = _first_lines(report)


def _first_lines(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    text = str(crash.message if crash is not None else report.longrepr)
    return " ".join([line.strip() for line in text.splitlines() if line.strip()][:2])


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Keep a file that cannot be imported as an error."""
    if report.failed:
        OUTCOMES[report.nodeid] = "error"
        MESSAGES[report.nodeid] = str(report.longrepr).strip().splitlines()[-1]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the outcomes."""
    path = session.config.getoption("--outcomes")
    if path is not None:
        path.write_text(json.dumps({"outcomes": OUTCOMES, "messages": MESSAGES, "calls": CALLS}), encoding="utf-8")
