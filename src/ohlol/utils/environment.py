"""What this machine is, and what of a run can be had again on it; knows nothing of models or training."""

import os
import platform
import shutil
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ohlol.utils import devices
from ohlol.utils.devices import CPU, title
from ohlol.utils.version import __version__

PACKAGES = ("torch", "numpy", "safetensors", "typer", "rich", "pyarrow", "matplotlib", "onnx", "onnxruntime")
"""Those whose versions are told; the last two are extras."""


@dataclass(frozen=True)
class Machine:
    """What `ohlol doctor` tells of a machine."""

    ohlol: str
    python: str
    system: str
    processor: str
    cores: int
    memory: int
    """Bytes that are free now."""
    packages: dict[str, str | None]
    threads: int
    blas: str
    kernels: str
    """Which code runs the recurrent layers."""
    compiled: bool
    """Whether a compiled module of ohlol is there."""
    disk: int
    """Bytes free where one stands."""
    writable: bool
    """Whether a run directory can be made there."""
    devices: list[str]
    """What `--device` can name beside the CPU."""

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def describe(folder: Path = Path(), *, kernels: str) -> Machine:
    """Look at this machine, and at the disk of a folder."""
    return Machine(
        ohlol=__version__,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        processor=torch.backends.cpu.get_cpu_capability(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory=free_memory() or 0,
        packages={name: _version(name) for name in PACKAGES},
        threads=torch.get_num_threads(),
        blas=_blas(),
        kernels=kernels,
        compiled=kernels != "torch",
        disk=shutil.disk_usage(folder).free,
        writable=os.access(folder, os.W_OK),
        devices=devices.found(),
    )


def record(*, kernels: str, deterministic: bool, device: torch.device = CPU, precision: str = "fp32") -> dict[str, Any]:
    """What equal bytes depend on besides settings, data and seed; `metrics.jsonl` has it."""
    return {
        "ohlol": __version__,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "kernels": kernels,
        "device": title(device),
        "precision": precision,
        "deterministic": deterministic,
    }


def promise(*, kernels: str, device: torch.device = CPU, precision: str = "fp32") -> str:
    """What is and is not the same again, in one line."""
    found = record(kernels=kernels, deterministic=True, device=device, precision=precision)
    other = "" if device.type == "cpu" else f" and {found['device']}"
    return (
        f"equal bytes again with torch {found['torch']}, {found['threads']} "
        f"thread{'s' * (found['threads'] != 1)}, {found['kernels']} kernels{',' if other else ' and'} "
        f"{found['processor']} instructions{other}, all as here; not promised with another torch, "
        f"processor{', device' if other else ''} or number of threads (OMP_NUM_THREADS)"
    )


def free_memory() -> int | None:
    """Bytes that a process could still take without swapping; None where the system does not say."""
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _blas() -> str:
    found = [name for name in ("mkl", "mkldnn", "openmp") if getattr(torch.backends, name).is_available()]
    config: Any = np.show_config(mode="dicts")
    numpys = config.get("Build Dependencies", {}).get("blas", {}).get("name", "unknown")
    return f"torch: {', '.join(found) or 'its own'}; numpy: {numpys}"
