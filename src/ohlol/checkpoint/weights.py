"""Safetensors files with a checksum, and a model's named weights in them; knows nothing of run directories."""

import hashlib
import json
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from ohlol.models.sequence_model import SequenceModel
from ohlol.utils.errors import SAID, InputError, short
from ohlol.utils.files import parse_json, read_bytes, write_bytes

HEADER_LIMIT = 1 << 24
"""Bytes of the largest safetensors header read: a tensor's entry takes about 100, and no network here has 100,000."""
TYPES = {
    torch.int64: "I64",
    torch.float64: "F64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""How safetensors calls what is written, in the order in which it stands in a file: the widest first, so that all are
aligned."""
UNSEALED = "0" * 64
"""What stands in a file for its checksum while the checksum is taken."""


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str], keep: Path | None = None) -> None:
    """Write a safetensors file with its checksum, as `write_bytes` does."""
    write_bytes(path, sealed(tensors, metadata), keep)


def sealed(tensors: dict[str, Tensor], metadata: dict[str, str]) -> bytearray:
    """A safetensors file with the SHA-256 of the whole file in its metadata, taken while that is `UNSEALED`.

    Laid out as the library does, which would copy every tensor three times: a run writes this after each epoch.
    """
    header: dict[str, Any] = {"__metadata__": {**metadata, "sha256": UNSEALED}}
    parts: list[tuple[Tensor, int, int]] = []
    end = 0
    order = list(TYPES)
    for name in sorted(tensors, key=lambda name: (order.index(tensors[name].dtype), name)):
        tensor = tensors[name]
        start, end = end, end + tensor.nbytes
        header[name] = {"dtype": TYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
        parts.append((tensor, start, end))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    made = bytearray(8 + len(text) + end)
    made[: 8 + len(text)] = len(text).to_bytes(8, "little") + text
    room = torch.frombuffer(made, dtype=torch.uint8)[8 + len(text) :]
    for tensor, start, end in parts:
        room[start:end] = tensor.detach().contiguous().view(-1).view(torch.uint8)
    digest = _seal(hashlib.sha256(made).hexdigest())
    at = made.index(_seal(UNSEALED))
    made[at : at + len(digest)] = digest
    return made


def _seal(digest: str) -> bytes:
    return f'"sha256":"{digest}"'.encode()


def read_tensors(path: Path, most: int = 1 << 40) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of a safetensors file and its metadata, the checksum compared where it has one.

    Args:
        path: the file.
        most: bytes that its tensors can have at most.

    Raises:
        InputError: missing, damaged, larger than it can be.
    """
    return parse_tensors(read_bytes(path, most + HEADER_LIMIT), str(path))


def parse_tensors(data: bytes, where: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The same from the file's bytes; `where` is what an InputError calls them."""
    try:
        metadata = _header(data).get("__metadata__", {})
        if not isinstance(metadata, dict) or not all(
            isinstance(v, str) for v in cast("dict[str, Any]", metadata).values()
        ):
            raise ValueError("its metadata are no strings")
        metadata = cast("dict[str, str]", metadata)
        if "sha256" in metadata:
            end = 8 + int.from_bytes(data[:8], "little")
            digest = hashlib.sha256(data[:end].replace(_seal(metadata["sha256"]), _seal(UNSEALED), 1))
            digest.update(memoryview(data)[end:])
            if digest.hexdigest() != metadata["sha256"]:
                raise ValueError("it does not match its checksum: it is damaged")
        return load(data), metadata
    except (SafetensorError, ValueError, KeyError, RecursionError, OverflowError) as error:
        raise InputError(f"{where}: cannot be read: {short(error)}") from None


def _header(data: bytes) -> dict[str, Any]:
    size = int.from_bytes(data[:8], "little")
    if size > min(HEADER_LIMIT, len(data) - 8):
        raise ValueError(f"its header claims {size} bytes")
    header = parse_json(data[8 : 8 + size])
    if not isinstance(header, dict):
        raise ValueError("its header is no object")
    return cast("dict[str, Any]", header)


def weights_of(model: SequenceModel) -> dict[str, Tensor]:
    """The named weights of a model, each tensor once."""
    weights = {k: v.detach().contiguous() for k, v in model.state_dict().items()}
    if model.settings.tied:
        del weights["head.weight"]
    return weights


def put_weights(model: SequenceModel, weights: dict[str, Tensor], where: str) -> None:
    """Put named weights into a model, names and shapes checked first; raises InputError."""
    check_weights(weights, weights_of(model), where)
    if model.settings.tied:
        weights = {**weights, "head.weight": weights["encoder.embedding.weight"]}
    model.load_state_dict(weights)


def check_weights(
    weights: dict[str, Tensor], expected: dict[str, Tensor], where: str, asker: str = "config.json asks for"
) -> None:
    """Names, shapes and types of weights against those expected; raises InputError."""
    if set(weights) != set(expected):
        odd = sorted(set(weights) ^ set(expected))[0]
        raise InputError(f"{where}: the weight {odd[:SAID]!r} is {'unknown' if odd in weights else 'missing'}")
    for name, tensor in weights.items():
        if tensor.shape != expected[name].shape or tensor.dtype != expected[name].dtype:
            raise InputError(
                f"{where}: {name} is {tuple(tensor.shape)} {tensor.dtype}; "
                f"{asker} {tuple(expected[name].shape)} {expected[name].dtype}"
            )
        if not torch.isfinite(tensor).all():
            raise InputError(f"{where}: {name} holds values that are no numbers")
