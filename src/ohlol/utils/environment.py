"""A description of this machine, and of what the bytes of a run depend on."""

import os
import platform
import shutil
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ohlol.utils.devices import CPU, describe_device, list_devices
from ohlol.utils.processors import find_processors
from ohlol.utils.translation import message_id, translate
from ohlol.utils.version import __version__

PACKAGES = (
    "torch",
    "numpy",
    "safetensors",
    "typer",
    "rich",
    "pyarrow",
    "openpyxl",
    "matplotlib",
    "onnx",
    "onnxruntime",
)
"""The packages whose versions are reported; those from pyarrow on are optional."""


@dataclass(frozen=True)
class Machine:
    """A description of a machine, as `ohlol doctor` reports it."""

    ohlol: str
    python: str
    system: str
    processor: str
    cores: int
    """The processors that this process may use, by its affinity."""
    quota: float | None
    """Processors that the quota of the control group allows; None where there is no quota."""
    load: float | None
    """Processes that have run or waited for a processor in the last minute, on average; None where it is not known."""
    memory: int
    """Bytes that are free now."""
    packages: dict[str, str | None]
    threads: int
    blas: str
    kernels: str
    """The implementation of the recurrent layers."""
    compiled: bool
    """Whether the compiled kernels are installed."""
    disk: int
    """Free bytes on the disk of the directory."""
    writable: bool
    """Whether a run directory can be created there."""
    devices: list[str]
    """The devices besides the CPU."""

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def describe_machine(folder: Path = Path(), *, kernels: str) -> Machine:
    """Describe this machine and the disk of a directory."""
    processors = find_processors()
    return Machine(
        ohlol=__version__,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        processor=torch.backends.cpu.get_cpu_capability(),
        cores=processors.allowed,
        quota=processors.quota,
        load=_get_load(),
        memory=get_free_memory() or 0,
        packages={name: _get_version(name) for name in PACKAGES},
        threads=torch.get_num_threads(),
        blas=_describe_blas(),
        kernels=kernels,
        compiled=kernels != "torch",
        disk=shutil.disk_usage(folder).free,
        writable=os.access(folder, os.W_OK),
        devices=list_devices(),
    )


def record_environment(
    *, kernels: str, deterministic: bool, device: torch.device = CPU, precision: str = "fp32"
) -> dict[str, Any]:
    """What the bytes of a run depend on besides settings, data and seed; `metrics.jsonl` records it."""
    return {
        "ohlol": __version__,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "kernels": kernels,
        "device": describe_device(device),
        "precision": precision,
        "deterministic": deterministic,
    }


def describe_reproducibility(*, kernels: str, device: torch.device = CPU, precision: str = "fp32") -> str:
    """Under which conditions a run gives equal bytes again, in one line."""
    here = record_environment(kernels=kernels, deterministic=True, device=device, precision=precision)
    message = message_id(
        "equal bytes again with torch {torch}, {threads} thread{plural}, {kernels} kernels and {processor} "
        "instructions, all as here; not promised with another torch, processor or number of threads (OMP_NUM_THREADS)"
        if device.type == "cpu"
        else "equal bytes again with torch {torch}, {threads} thread{plural}, {kernels} kernels, {processor} "
        "instructions and {device}, all as here; not promised with another torch, processor, device or number of "
        "threads (OMP_NUM_THREADS)"
    )
    return translate(message, plural="s" * (here["threads"] != 1), **here)


def get_free_memory() -> int | None:
    """Bytes that a process can still allocate without swapping; None where the system does not say."""
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _get_load() -> float | None:
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # on Windows; where the system does not say
        return None


def _get_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _describe_blas() -> str:
    libraries = [name for name in ("mkl", "mkldnn", "openmp") if getattr(torch.backends, name).is_available()]
    config: Any = np.show_config(mode="dicts")
    numpy_blas = config.get("Build Dependencies", {}).get("blas", {}).get("name", "unknown")
    return f"torch: {', '.join(libraries) or translate('its own')}; numpy: {numpy_blas}"
