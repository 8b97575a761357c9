"""The processors that this process may use: those of its affinity, and the quota of its control group.

torch's default number of threads depends only on the affinity. In a container with a quota of one processor on a
machine of eight, eight threads would use up the quota in an eighth of each period, and then all are throttled until the
next period.
"""

import math
import os
from collections.abc import Generator, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CGROUP_ROOT = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")
THREADS = "OMP_NUM_THREADS"
"""The environment variable of OpenMP, which torch and numpy read when they are imported."""


@dataclass(frozen=True)
class Processors:
    """What this process may use."""

    allowed: int
    """Processors of its affinity."""
    quota: float | None
    """Processors' worth of time for each second, as its control group allows; None: no limit."""

    @property
    def count(self) -> int:
        """The threads that can use all of the quota, rounded up: with a fraction of it they are throttled at times."""
        return self.allowed if self.quota is None else max(1, min(self.allowed, math.ceil(self.quota)))


def find_processors(root: Path = CGROUP_ROOT, own: Path = OWN_CGROUPS) -> Processors:
    """The processors that this process may use."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Processors(allowed, read_quota(root, own))


def read_quota(root: Path = CGROUP_ROOT, own: Path = OWN_CGROUPS) -> float | None:
    """The least quota of the control groups of this process, of version 1 or 2; None where there is none.

    Args:
        root: where the control groups are mounted.
        own: a file with the groups of the process, as `/proc/self/cgroup`.
    """
    return min(
        (quota for folder in _list_groups(root, own) if (quota := _read_group(folder)) is not None), default=None
    )


def set_default_threads(
    environment: MutableMapping[str, str] = os.environ, processors: Processors | None = None
) -> None:
    """Let torch and numpy start as many threads as the quota has processors, if it is less than the affinity.

    It has to be called before they are imported, and changes nothing where the number of threads is set.
    """
    if _is_number_set(environment):
        return
    processors = processors or find_processors()
    if processors.count < processors.allowed:
        environment[THREADS] = str(processors.count)


@contextmanager
def within_quota(environment: Mapping[str, str] = os.environ, processors: Processors | None = None) -> Generator[None]:
    """Let torch, already imported, run as many threads as the quota has processors, and as many as before afterwards.

    It changes nothing where the number of threads is set, by the environment or by `torch.set_num_threads`.
    """
    import torch

    processors = processors or find_processors()
    threads = torch.get_num_threads()
    if processors.count == processors.allowed or threads != processors.allowed or _is_number_set(environment):
        yield
        return
    torch.set_num_threads(processors.count)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _is_number_set(environment: Mapping[str, str]) -> bool:
    return THREADS in environment or "MKL_NUM_THREADS" in environment


def _list_groups(root: Path, own: Path) -> Iterator[Path]:
    try:
        lines = own.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:  # not on Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        group = Path(path.lstrip("/"))
        mounts = ("cpu", "cpu,cpuacct", controllers) if controllers else ("", "unified")
        for mount in dict.fromkeys(mounts):
            # In a container the path may be that of the host, while the container sees its own group as the root.
            for folder in (group, *group.parents):
                yield root / mount / folder


def _read_group(folder: Path) -> float | None:
    """The quota of one group, in processors."""
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = (folder / "cpu.cfs_period_us").read_text(encoding="ascii").strip()
        return None if quota in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None
