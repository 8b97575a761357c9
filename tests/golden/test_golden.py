"""Run directories of format 1, as they were written once: every later version must read them and go on from them."""

import hashlib
import json
import shutil
import warnings
from pathlib import Path

import pytest

import ohlol
from ohlol import resume
from ohlol.errors import InputWarning

HERE = Path(__file__).parent


def test_a_finished_run_is_read() -> None:
    model = ohlol.load(HERE / "hello")
    assert model.config.task == "label"
    assert "".join(model.predict("hello").labels) == "ohlol"
    assert model.config.scores["accuracy"] == 1.0


def test_a_stopped_run_is_read_and_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(HERE / "stopped", tmp_path / "stopped")
    shutil.copy(HERE / "data.tsv", tmp_path)
    monkeypatch.chdir(tmp_path)
    tensors, position = resume.load(Path("stopped"))
    assert (position["epoch"], position["batch"], position["step"]) == (2, 1, 7)
    assert tensors["model.encoder.embedding.weight"].shape[1] == 2
    with warnings.catch_warnings(record=True) as warned:  # perhaps of another machine than that which wrote it
        warnings.simplefilter("always")
        ohlol.fit(out="stopped", resume=True)
    assert {w.category for w in warned} <= {InputWarning}
    lines = [json.loads(line) for line in Path("stopped/metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert lines[0]["machine"]["ohlol"] == "0.1.0"


@pytest.mark.parametrize("name", ["hello/config.json", "hello/vocab.json", "stopped/config.json"])
def test_the_checksum_of_json_is_as_specified(name: str) -> None:
    """In the words of docs/run-directory.md, and with none of the code that writes it."""
    data = json.loads((HERE / name).read_text(encoding="utf-8"))
    found = data.pop("sha256")
    plain = json.dumps(data, sort_keys=True, separators=(",", ":"))
    assert found == hashlib.sha256(plain.encode("ascii")).hexdigest()


@pytest.mark.parametrize("name", ["hello/model.safetensors", "stopped/resume/last.safetensors"])
def test_the_checksum_of_tensors_is_as_specified(name: str) -> None:
    raw = (HERE / name).read_bytes()
    size = int.from_bytes(raw[:8], "little")
    found = json.loads(raw[8 : 8 + size])["__metadata__"]["sha256"]
    assert raw.count(found.encode()) == 1
    assert hashlib.sha256(raw.replace(found.encode(), b"0" * 64)).hexdigest() == found
