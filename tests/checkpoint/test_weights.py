"""Files of weights: the layout of the safetensors library, and the checksum."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

from ohlol.checkpoint.weights import EMPTY_CHECKSUM, TYPES, read_tensors, serialize_tensors, write_tensors
from ohlol.utils.errors import InputError


def tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    made = {f"of {dtype}": (torch.rand(3, 5) * 100).to(dtype) for dtype in TYPES}
    return made | {
        "a number": torch.tensor(7.5),
        "nothing": torch.zeros(0, 4),
        "across": torch.rand(4, 6).t(),
        "a part": torch.arange(20)[3:9:2],
        "learned": torch.nn.Parameter(torch.rand(3)),
        "é\\n": torch.zeros(1, dtype=torch.uint8),
    }


def split(raw: bytes) -> tuple[dict[str, object], bytes]:
    end = 8 + int.from_bytes(raw[:8], "little")
    assert end % 8 == 0
    return json.loads(raw[8:end]), raw[end:]


def test_the_layout_equals_that_of_safetensors() -> None:
    kept = tensors()
    about, data = split(bytes(serialize_tensors(kept, {"format": "pt"})))
    wanted, same = split(save({k: v.detach().contiguous() for k, v in kept.items()}, {"format": "pt"}))
    assert data == same
    metadata = about.pop("__metadata__")
    assert isinstance(metadata, dict)
    assert metadata.pop("sha256") != EMPTY_CHECKSUM
    assert metadata == wanted.pop("__metadata__")
    assert list(about.items()) == list(wanted.items())


def test_written_tensors_are_read_back(tmp_path: Path) -> None:
    kept = tensors()
    write_tensors(tmp_path / "x.safetensors", kept, {"note": 'a "quoted" one'})
    found, about = read_tensors(tmp_path / "x.safetensors")
    assert about["note"] == 'a "quoted" one'
    assert set(found) == set(kept)
    for name, tensor in kept.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name
    assert set(load((tmp_path / "x.safetensors").read_bytes())) == set(kept)  # by the library itself


def test_the_checksum_is_computed_with_zeros_in_its_place(tmp_path: Path) -> None:
    raw = bytes(serialize_tensors(tensors(), {"note": f'"sha256":"{EMPTY_CHECKSUM}"'}))
    about = split(raw)[0]["__metadata__"]
    assert isinstance(about, dict)
    digest = about["sha256"]
    assert raw.count(digest.encode()) == 1
    assert hashlib.sha256(raw.replace(digest.encode(), EMPTY_CHECKSUM.encode())).hexdigest() == digest
    (tmp_path / "x").write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    with pytest.raises(InputError, match="does not match its checksum"):
        read_tensors(tmp_path / "x")
