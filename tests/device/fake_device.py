"""A fake device for tests, built from fake_device.cpp, whose operations refuse tensors of other devices."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import library as library_of_operations

SOURCE = Path(__file__).with_name("fake_device.cpp")


def build(library: Path) -> str:
    """Compile the device; return the compiler's error messages, or an empty string."""
    root = Path(torch.__file__).parent
    include = [f"-I{root / 'include'}", f"-I{root / 'include/torch/csrc/api/include'}"]
    link = [f"-L{root / 'lib'}", "-ltorch_cpu", "-ltorch", "-lc10", f"-Wl,-rpath,{root / 'lib'}"]
    abi = f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"
    command = ["c++", "-std=c++20", "-O0", "-w", "-shared", "-fPIC", abi, *include, str(SOURCE), "-o", str(library)]
    result = subprocess.run([*command, *link], capture_output=True, text=True)
    return "" if result.returncode == 0 else result.stderr or f"status {result.returncode}"


def install(library: Path) -> torch.Generator:
    """Register the device as torch's accelerator, once per process; return its random generator."""
    torch.utils.rename_privateuse1_backend("other")
    torch.ops.load_library(library)
    generator_of_device = torch.Generator()
    module: Any = ModuleType("torch.other")
    module.is_available = module.is_initialized = lambda: True
    module.device_count, module.current_device = lambda: 1, lambda: 0
    module._is_in_bad_fork = lambda: False
    module.manual_seed_all = generator_of_device.manual_seed
    module.get_rng_state = lambda device: generator_of_device.get_state()
    module.set_rng_state = lambda state, device: generator_of_device.set_state(state)
    module.get_device_name = lambda device: "of the tests"
    module.mem_get_info = lambda device: (module.free, 1 << 40)
    module.free = 1 << 40
    module.memory_reserved = module.memory_allocated = lambda device: 0
    module.get_amp_supported_dtype = lambda: [torch.float16, torch.bfloat16]
    torch._register_device_module("other", module)
    torch.utils.generate_methods_for_privateuse1_backend()
    own = library_of_operations.Library("aten", "IMPL")

    def bernoulli(self: torch.Tensor, p: float = 0.5, generator: Any = None) -> torch.Tensor:
        return self.copy_(torch.empty(self.shape, dtype=self.dtype).bernoulli_(p, generator=generator_of_device))

    def dropout(x: torch.Tensor, p: float, train: bool | None) -> tuple[torch.Tensor, torch.Tensor]:
        mask = torch.ones_like(x).bernoulli_(1 - p)
        return x * mask / (1 - p), mask.bool()

    own.impl("bernoulli_.float", bernoulli, "PrivateUse1")
    own.impl("native_dropout", dropout, "PrivateUse1")
    sys.modules["torch.other_library"] = own  # type: ignore[assignment]  # keeps the operations registered
    return generator_of_device
