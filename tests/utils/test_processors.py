"""The processors that a process may use: its affinity, and quotas of control groups of both versions."""

import os
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from ohlol.utils import processors
from ohlol.utils.processors import Processors, find_processors, read_quota, set_default_threads, within_quota


def write_groups(folder: Path, own: str, files: dict[str, str]) -> tuple[Path, Path]:
    for name, text in files.items():
        path = folder / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "own").write_text(own)
    return folder / "cgroup", folder / "own"


@pytest.mark.parametrize(
    ("own", "files", "quota"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        # the least quota of the group and those above it
        ("0::/a/b\n", {"a/b/cpu.max": "400000 100000", "a/cpu.max": "200000 100000", "cpu.max": "max 100000"}, 2.0),
        # in a container, where the path is that of the host
        ("0::/host/path\n", {"cpu.max": "50000 100000"}, 0.5),
        # version 1, and both versions mounted
        (
            "4:memory:/\n1:cpu,cpuacct:/a\n",
            {"cpu,cpuacct/a/cpu.cfs_quota_us": "100000\n", "cpu,cpuacct/a/cpu.cfs_period_us": "50000\n"},
            2.0,
        ),
        ("1:cpu:/\n0::/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ("1:cpuset:/\n", {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, None),
        ("0::/\n", {"cpu.max": "what is this\n"}, None),
        ("0::/\n", {}, None),
    ],
)
def test_the_quota_of_control_groups(tmp_path: Path, own: str, files: dict[str, str], quota: float | None) -> None:
    assert read_quota(*write_groups(tmp_path, own, files)) == quota


def test_a_system_without_control_groups(tmp_path: Path) -> None:
    assert read_quota(tmp_path / "gone", tmp_path / "no file") is None


def test_the_least_of_affinity_and_quota_counts(tmp_path: Path) -> None:
    groups = write_groups(tmp_path, "0::/\n", {"cpu.max": "100000 100000"})
    allowed = len(os.sched_getaffinity(0))
    assert find_processors(*groups) == Processors(allowed, 1.0)
    assert [Processors(8, quota).count for quota in (None, 0.3, 1.0, 1.5, 20.0)] == [8, 1, 1, 2, 8]


def test_the_default_number_of_threads_regards_the_quota() -> None:
    environment: dict[str, str] = {}
    set_default_threads(environment, Processors(8, 1.5))
    assert environment == {processors.THREADS: "2"}
    for unchanged in ({processors.THREADS: "4"}, {"MKL_NUM_THREADS": "4"}):
        set_default_threads(environment := dict(unchanged), Processors(8, 1.5))
        assert environment == unchanged
    for enough in (Processors(8, None), Processors(8, 8.0), Processors(2, 16.0)):
        set_default_threads(environment := {}, enough)
        assert environment == {}


@pytest.mark.parametrize(
    ("threads", "environment", "processors", "expected"),
    [
        (3, {}, Processors(3, 1.5), 2),
        (3, {}, Processors(3, None), 3),
        (2, {}, Processors(3, 1.0), 2),  # the user's number
        (3, {"OMP_NUM_THREADS": "3"}, Processors(3, 1.0), 3),
    ],
)
def test_a_training_runs_within_the_quota(
    threads: int, environment: dict[str, str], processors: Processors, expected: int
) -> None:
    before, during = torch.get_num_threads(), 0
    try:
        torch.set_num_threads(threads)
        with suppress(KeyError), within_quota(environment, processors):
            during = torch.get_num_threads()
            raise KeyError
        assert (during, torch.get_num_threads()) == (expected, threads)
    finally:
        torch.set_num_threads(before)
