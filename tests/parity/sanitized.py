"""`make sanitize`: run pytest on the package in PYTHONPATH instead of an editable install."""

import sys

import pytest

sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in type(finder).__module__]

if __name__ == "__main__":
    from ohlol.ops.backend import KERNEL

    assert KERNEL is not None
    assert "sanitize" in str(KERNEL.__file__), f"not the build with sanitizers: {KERNEL.__file__}"
    sys.exit(pytest.main(sys.argv[1:]))
