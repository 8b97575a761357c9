"""The description of the machine, and the line about reproducibility."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from ohlol.utils import environment
from ohlol.utils.version import __version__


def test_a_machine_is_described(tmp_path: Path) -> None:
    machine = environment.describe_machine(tmp_path, kernels="avx2")
    assert (machine.ohlol, machine.kernels, machine.compiled) == (__version__, "avx2", True)
    assert machine.packages["torch"] == torch.__version__
    assert machine.packages["numpy"] == np.__version__
    assert list(machine.packages) == list(environment.PACKAGES)
    assert machine.cores >= 1
    assert machine.threads == torch.get_num_threads()
    assert machine.memory > 0
    assert machine.disk > 0
    assert machine.writable
    assert json.loads(json.dumps(machine.to_json()))["kernels"] == "avx2"


def test_a_load_that_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError

    monkeypatch.setattr(os, "getloadavg", fail)
    assert environment.describe_machine(tmp_path, kernels="avx2").load is None
    monkeypatch.delattr(os, "getloadavg")
    assert environment.describe_machine(tmp_path, kernels="avx2").load is None


def test_an_environment_without_kernels(tmp_path: Path) -> None:
    assert not environment.describe_machine(tmp_path, kernels="torch").compiled


def test_a_package_that_is_not_installed_has_no_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "PACKAGES", ("torch", "no-package-of-this-name"))
    packages = environment.describe_machine(tmp_path, kernels="torch").packages
    assert packages == {"torch": torch.__version__, "no-package-of-this-name": None}


def test_the_record_has_everything_that_reproducibility_needs() -> None:
    record = environment.record_environment(kernels="avx2", deterministic=True, precision="bf16")
    assert record == {
        "ohlol": __version__,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "kernels": "avx2",
        "device": "cpu",
        "precision": "bf16",
        "deterministic": True,
    }


def test_reproducibility_is_described_in_one_line() -> None:
    line = environment.describe_reproducibility(kernels="avx2")
    assert line.startswith(f"equal bytes again with torch {torch.__version__}, {torch.get_num_threads()} thread")
    assert "avx2 kernels" in line
    assert "OMP_NUM_THREADS" in line
    assert "\n" not in line


def test_free_memory_is_at_most_all_memory() -> None:
    free = environment.get_free_memory()
    assert free is not None
    assert 0 < free <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_free_memory_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "exists", lambda _: False)
    assert environment.get_free_memory() == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    monkeypatch.setattr(os, "sysconf_names", {})
    assert environment.get_free_memory() is None
