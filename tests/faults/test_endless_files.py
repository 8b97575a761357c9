"""Files without an end: refused at once, and in bounded memory."""

import os
import sys
from pathlib import Path

import pytest
from runs import run_command

SIZE = 1 << 36
"""Bytes of a sparse file, more than fits into memory."""
MEMORY = 3 << 30
"""Bytes of address space that a command may use."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with sparse files of zero bytes, one after the start of an array, and a link to the endless device."""
    folder = tmp_path_factory.mktemp("endless")
    for suffix in ("txt", "tsv", "csv", "jsonl", "conll", "parquet", "onnx", "safetensors"):
        with (folder / f"zeros.{suffix}").open("wb") as file:
            file.truncate(SIZE)
    with (folder / "array.json").open("wb") as file:
        file.write(b"[")
        file.truncate(SIZE)
    (folder / "device.txt").symlink_to("/dev/zero")
    (folder / "run").mkdir()
    return folder


LIMIT = f"import resource; resource.setrlimit(resource.RLIMIT_DATA, ({MEMORY}, {MEMORY}))"
"""What the process of a command runs first."""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/zero and a limit of memory")
@pytest.mark.parametrize(
    "command",
    [
        *(f"encode zeros.{suffix} --out corpus" for suffix in ("txt", "tsv", "csv", "jsonl", "conll", "parquet")),
        "encode array.json --out corpus",
        "encode zeros.txt --format text --task next --level char --out corpus",
        "encode device.txt --out corpus",
        "train device.txt --out trained",
        "import zeros.onnx --out imported",
        "import zeros.safetensors --task next --out imported",
        "serve run --api-key /dev/zero",
        "serve run --api-key zeros.txt",
    ],
)
def test_a_file_without_an_end_is_reported_in_one_line(folder: Path, command: str) -> None:
    before = {*os.listdir(folder), "stdout", "stderr"}
    status, message = run_command(*command.split(), cwd=folder, code=LIMIT)
    assert (status, (folder / "stdout").read_text()) == (2, ""), message
    assert message.count("\n") == 1
    assert message.startswith("ohlol: ")
    assert set(os.listdir(folder)) == before
