"""Training and answering on a device beside the CPU, where a tensor on the wrong side is an error."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import other
import pytest

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent


@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler is here, with which the device is built")
def test_the_tests_pass_on_the_fake_device(tmp_path: Path) -> None:
    """In a process of its own, since torch knows the device from then on as the accelerator of the machine."""
    library = tmp_path / "other.so"
    said = other.build(library)
    assert not said, said
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", str(HERE / "on_other.py")]
    environment = {**os.environ, "OHLOL_OTHER": str(library)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=HERE.parents[1])
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 33
    assert "skipped" not in done.stdout or "onnx is not installed" in done.stdout
