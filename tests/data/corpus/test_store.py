"""A hostile or damaged corpus is refused in one line before a wrong number is used."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import bytes_of, conll_file

from ohlol.config import DataSettings
from ohlol.data.batches import Buckets
from ohlol.data.corpus import encoded, store
from ohlol.data.corpus.encode import encode
from ohlol.utils.errors import InputError
from ohlol.utils.files import read_json, write_json


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    conll_file(tmp_path / "data.conll", 60)
    encode([str(tmp_path / "data.conll")], tmp_path / "c", DataSettings(), jobs=1, piece=300)
    return tmp_path / "c"


def read_all(folder: Path) -> None:
    """Open a corpus and read every batch, as training does."""
    found = encoded.read(folder)
    for data in found.parts.values():
        batches = Buckets(data, 4, (0, 0))
        for index in range(len(batches)):
            batch = batches[index]
            assert 0 <= batch.inputs.min() <= batch.inputs.max() < len(found.codec.symbols or ())
            assert batch.targets is not None
            assert 0 <= batch.targets.min() <= batch.targets.max() < len(found.codec.labels or ())


def said(folder: Path) -> str:
    with pytest.raises(InputError) as refused:
        read_all(folder)
    text = str(refused.value)
    assert "\n" not in text
    assert len(text) < 400
    return text


def rewritten(folder: Path, name: str, change: Callable[[Any], Any]) -> None:
    path = folder / "train-00001" / name
    np.save(path, change(np.load(path)))


def test_a_whole_corpus_is_read(corpus: Path) -> None:
    read_all(corpus)
    store.verify(corpus, store.read_manifest(corpus))


@pytest.mark.parametrize("name", ["inputs", "offsets", "targets", "forms", "spellings", "spelling_offsets"])
def test_each_array_is_checked(corpus: Path, name: str) -> None:
    path = corpus / "train-00001" / f"{name}.npy"
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) - 1])
    assert path.name in said(corpus)
    path.write_bytes(raw[:40])
    assert "damaged" in said(corpus)
    path.write_bytes(raw + b"\0")
    assert f"damaged: it has {len(raw) + 1} bytes, and should have {len(raw)}" in said(corpus)
    path.write_bytes(raw.replace(b"{'descr'", b"j'descr'"))  # numpy parses the header as Python
    assert "damaged" in said(corpus)
    path.write_bytes(b"")
    assert "it does not begin like an array file" in said(corpus)
    path.unlink()
    assert "is not a regular file" in said(corpus)
    path.symlink_to(corpus / "train-00000" / f"{name}.npy")
    assert "is not a regular file" in said(corpus)
    path.unlink()
    path.write_bytes(raw)
    rewritten(corpus, f"{name}.npy", lambda values: values.astype(np.float64))
    assert "and should hold" in said(corpus)
    path.write_bytes(raw)
    rewritten(corpus, f"{name}.npy", lambda values: values[:-1])
    assert "and should hold" in said(corpus)
    path.write_bytes(raw)
    largest = np.iinfo(np.load(path).dtype).max
    rewritten(corpus, f"{name}.npy", lambda values: np.full_like(values, largest))
    assert "damaged: " in said(corpus)


def test_offsets_must_grow(corpus: Path) -> None:
    def shuffled(values: Any) -> Any:
        values[1], values[2] = values[2], values[1]
        return values

    rewritten(corpus, "offsets.npy", shuffled)
    assert "offsets.npy: damaged: its values do not increase" in said(corpus)


def test_objects_and_archives_are_refused(corpus: Path) -> None:
    path = corpus / "train-00001" / "inputs.npy"
    np.save(path, np.array([print, len], dtype=object), allow_pickle=True)
    assert "damaged" in said(corpus)
    with path.open("wb") as file:
        np.savez(file, np.zeros(3))
    assert "it does not begin like an array file" in said(corpus)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m | {"format": 2}, "it does not have format 1"),
        (lambda m: m | {"task": "classify"}, "do not belong together"),
        (lambda m: m | {"settings": m["settings"] | {"level": 3}}, "its settings are damaged"),
        (lambda m: m | {"settings": m["settings"] | {"secret": "x"}}, "its settings are damaged"),
        (lambda m: m | {"shards": []}, "holds no sequences"),
        (lambda m: m | {"shards": m["shards"] + m["shards"][:1]}, "it lists a shard twice"),
        (lambda m: m | {"shards": [m["shards"][0] | {"name": "../../etc"}]}, "a shard has the name '../../etc'"),
        (lambda m: m | {"shards": [m["shards"][0] | {"steps": -1}]}, "are out of range"),
        (lambda m: m | {"shards": [m["shards"][0] | {"steps": 1 << 60}]}, "are out of range"),
        (lambda m: m | {"shards": [m["shards"][0] | {"files": {"inputs.npy": "no"}}]}, "the checksums of"),
        (lambda m: m | {"shards": [m["shards"][0] | {"color": 1}]}, "is not the manifest"),
        (lambda m: m | {"shards": 7}, "is not the manifest"),
        (lambda m: {k: v for k, v in m.items() if k != "vocab"}, "is not the manifest"),
    ],
)
def test_hostile_manifests_are_refused(corpus: Path, change: Callable[[Any], Any], message: str) -> None:
    write_json(corpus / "corpus.json", change(read_json(corpus / "corpus.json")))
    assert message in said(corpus)


def test_a_flipped_bit_is_detected(corpus: Path) -> None:
    manifest = store.read_manifest(corpus)
    chance = np.random.default_rng(0)
    for name, raw in bytes_of(corpus).items():
        path = corpus / name
        for bit in chance.integers(0, 8 * len(raw), 6).tolist():
            changed = bytearray(raw)
            changed[bit // 8] ^= 1 << bit % 8
            path.write_bytes(changed)
            with pytest.raises(InputError):
                store.verify(corpus, store.read_manifest(corpus) if name == "corpus.json" else manifest)
        path.write_bytes(raw)
    store.verify(corpus, store.read_manifest(corpus))


def test_checksums_of_other_paths_are_refused(corpus: Path) -> None:
    manifest = read_json(corpus / "corpus.json")
    manifest["shards"][0]["files"]["../../secret"] = "0" * 64
    (corpus.parent / "secret").write_text("x")
    write_json(corpus / "corpus.json", manifest)
    with pytest.raises(InputError, match="is missing"):
        store.verify(corpus, store.read_manifest(corpus))


def test_the_manifest_is_json_with_a_checksum(corpus: Path) -> None:
    found = json.loads((corpus / "corpus.json").read_text())
    assert set(found) == {
        "format", "task", "settings", "shards", "sources", "vocab", "dev_fraction", "data_sha256", "sha256",
    }  # fmt: skip
