"""The instruction sets of the kernels, as parameters of a fixture."""

import pytest

from ohlol import ops

KERNEL_VARIANTS = [
    pytest.param(name, marks=[pytest.mark.slow] if place else [])
    for place, name in enumerate(ops.available() or ("off",))
]
"""Those that this machine supports, of which `make test` has the fastest; "off" without the compiled module."""
