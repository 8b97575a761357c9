"""Training and inference on a fake device, where a tensor on the wrong device is an error."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import fake_device
import pytest

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent


@pytest.mark.skipif(shutil.which("c++") is None, reason="the device is built with a C++ compiler, and there is none")
def test_the_tests_pass_on_the_fake_device(tmp_path: Path) -> None:
    """In a separate process, since torch cannot unregister an accelerator."""
    library = tmp_path / "other.so"
    errors = fake_device.build(library)
    assert not errors, errors
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        str(HERE / "on_fake_device.py"),
    ]
    environment = {**os.environ, "OHLOL_OTHER": str(library)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=HERE.parents[1])
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 33
    assert "skipped" not in done.stdout or "onnx is not installed" in done.stdout
