"""Stored run directories of format 2: every later version must read and resume them."""

import hashlib
import json
import shutil
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from helpers import bytes_of

import ohlol
from ohlol.checkpoint import resume_state
from ohlol.config import DataSettings
from ohlol.data.corpus import encoded, store
from ohlol.data.corpus.encode import encode
from ohlol.utils.errors import InputWarning

HERE = Path(__file__).parent


def test_a_finished_run_is_read() -> None:
    model = ohlol.load(HERE / "hello")
    assert model.config.task == "label"
    assert "".join(model.predict("hello").labels) == "ohlol"
    assert model.config.metrics["accuracy"] == 1.0


def test_a_stream_is_restored_from_its_state() -> None:
    stream = ohlol.load(HERE / "hello").stream()
    stream.restore((HERE / "hello.stream.safetensors").read_bytes())
    assert stream.steps == 3
    assert "".join(stream.step(letter).label for letter in "lo") == "ol"


def test_a_graph_is_imported() -> None:
    pytest.importorskip("onnx", reason="onnx is not installed")
    from ohlol.interop import import_run

    model, _ = import_run.import_model(HERE / "hello.onnx")
    assert model.identity == ohlol.load(HERE / "hello").identity
    assert model.identity == "3c4f8ffd823590b00c27df17883347fb9ba1ca13c61993462dbd49589ae8b2b1"


def test_a_graph_is_read_by_onnxruntime() -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    session = onnxruntime.InferenceSession(HERE / "hello.onnx")
    feed = {"ids": np.array([[1, 0, 2, 2, 3]]), "lengths": np.array([5]), "h_0": np.zeros((1, 1, 4), np.float32)}
    scores = session.run(["logits"], feed)[0]
    assert "".join("ehlo"[i] for i in scores[0].argmax(axis=1)) == "ohlol"


def test_a_stopped_run_is_read_and_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(HERE / "stopped", tmp_path / "stopped")
    shutil.copy(HERE / "data.tsv", tmp_path)
    monkeypatch.chdir(tmp_path)
    tensors, position = resume_state.load_state(Path("stopped"))
    assert (position["epoch"], position["batch"], position["step"]) == (2, 1, 7)
    assert tensors["model.encoder.embedding.weight"].shape[1] == 2
    with warnings.catch_warnings(record=True) as warned:  # it may warn that another machine wrote the run
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


@pytest.mark.parametrize(
    "name", ["hello/model.safetensors", "stopped/resume/last.safetensors", "hello.stream.safetensors"]
)
def test_the_checksum_of_tensors_is_as_specified(name: str) -> None:
    raw = (HERE / name).read_bytes()
    size = int.from_bytes(raw[:8], "little")
    found = json.loads(raw[8 : 8 + size])["__metadata__"]["sha256"]
    assert raw.count(found.encode()) == 1
    assert hashlib.sha256(raw.replace(found.encode(), b"0" * 64)).hexdigest() == found


def test_an_encoded_corpus_is_read() -> None:
    found = encoded.read(HERE / "corpus")
    store.verify(HERE / "corpus", found.manifest)
    assert found.codec.symbols is not None
    assert found.train.targets is not None
    assert found.dev is not None
    assert (len(found.train), len(found.dev)) == (18, 6)
    lines = {line.partition("\t")[0] for line in (HERE / "data.tsv").read_text().splitlines()}
    for data in found.parts.values():
        starts, lengths = data.inputs.bounds(np.arange(len(data)))
        for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
            text = found.codec.symbols.decode(data.inputs.values[np.arange(start, start + length)])
            assert "".join(text) in lines
    assert ohlol.fit(HERE / "corpus", hidden_size=3, epochs=1).codec == found.codec


def test_an_encoded_corpus_is_written_with_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(HERE / "data.tsv", tmp_path)
    monkeypatch.chdir(tmp_path)
    encode(["data.tsv"], Path("corpus"), DataSettings(), jobs=1, piece=150)
    one, two = bytes_of(HERE / "corpus"), bytes_of(Path("corpus"))
    manifests = [json.loads(files.pop("corpus.json")) for files in (one, two)]
    assert one == two
    for manifest in manifests:
        del manifest["sources"], manifest["sha256"]  # they contain the modification time of the file
    assert manifests[0] == manifests[1]


def test_an_encoded_corpus_is_as_specified() -> None:
    """In the words of docs/corpus.md, and with none of the code that writes it."""
    folder = HERE / "corpus"
    manifest = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))
    vocab = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    assert manifest["vocab"] == hashlib.sha256((folder / "vocab.json").read_bytes()).hexdigest()
    found = []
    for shard in manifest["shards"]:
        arrays = {}
        for name, digest in shard["files"].items():
            assert hashlib.sha256((folder / shard["name"] / name).read_bytes()).hexdigest() == digest
            arrays[name] = np.load(folder / shard["name"] / name)
        offsets = arrays["offsets.npy"]
        assert (offsets.dtype.str, len(offsets)) == ("<i8", shard["sequences"] + 1)
        assert arrays["inputs.npy"].dtype.str == arrays["targets.npy"].dtype.str == "|u1"
        assert len(arrays["inputs.npy"]) == shard["steps"] == offsets[-1]
        for start, end in pairwise(offsets):
            text = "".join(vocab["symbols"]["symbols"][i] for i in arrays["inputs.npy"][start:end])
            label = "".join(vocab["labels"]["symbols"][i] for i in arrays["targets.npy"][start:end])
            found.append(f"{text}\t{label}")
    assert sorted(found) == sorted((HERE / "data.tsv").read_text(encoding="utf-8").splitlines())
