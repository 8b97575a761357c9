"""Files: a write that fails leaves what was there, and what JSON lacks is never written."""

import os
from pathlib import Path

import pytest

from ohlol.errors import InputError
from ohlol.files import write_json


@pytest.mark.parametrize("broken", ["write", "fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    path = tmp_path / "file.json"
    write_json(path, {"old": 1})
    before = path.read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    target = {"write": (Path, "open"), "fsync": (os, "fsync"), "replace": (Path, "replace")}[broken]
    with monkeypatch.context() as patched:
        patched.setattr(*target, fail)
        with pytest.raises(InputError) as refused:
            write_json(path, {"new": 2})
    assert str(refused.value) == f"{path}: cannot be written: No space left on device; what was there is as it was"
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["file.json"]


def test_a_number_json_lacks_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []
