"""Safetensors files with a checksum, and the named weights of a model in them."""

import hashlib
import json
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from ohlol.models.sequence_model import SequenceModel
from ohlol.utils.errors import MAX_QUOTED, InputError, describe_error
from ohlol.utils.files import parse_json, read_bytes, read_start, write_bytes
from ohlol.utils.translation import message_id, translate

HEADER_LIMIT = 1 << 24
"""Size in bytes of the largest safetensors header that is read: about 100 for each tensor of a model."""
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
"""The names of the dtypes in safetensors, in the order of a file: the widest first, so that all tensors are aligned."""
EMPTY_CHECKSUM = "0" * 64
"""The placeholder for the checksum of a file while the checksum is computed."""


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str], backup: Path | None = None) -> None:
    """Write a safetensors file with its checksum, as `write_bytes` does."""
    write_bytes(path, serialize_tensors(tensors, metadata), backup)


def serialize_tensors(tensors: dict[str, Tensor], metadata: dict[str, str]) -> bytearray:
    """A safetensors file with the SHA-256 of the whole file in its metadata, computed while that is `EMPTY_CHECKSUM`.

    The layout is that of the safetensors library, which copies every tensor three times; a run calls this each epoch.
    """
    header: dict[str, Any] = {"__metadata__": {**metadata, "sha256": EMPTY_CHECKSUM}}
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
    file = bytearray(8 + len(text) + end)
    file[: 8 + len(text)] = len(text).to_bytes(8, "little") + text
    body = torch.frombuffer(file, dtype=torch.uint8)[8 + len(text) :]
    for tensor, start, end in parts:
        body[start:end] = tensor.detach().contiguous().view(-1).view(torch.uint8)
    entry = _checksum_entry(hashlib.sha256(file).hexdigest())
    at = file.index(_checksum_entry(EMPTY_CHECKSUM))
    file[at : at + len(entry)] = entry
    return file


def _checksum_entry(digest: str) -> bytes:
    return f'"sha256":"{digest}"'.encode()


def read_tensors(path: Path, max_bytes: int = 1 << 40) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file; its checksum is verified, if it has one.

    Args:
        path: the file.
        max_bytes: the largest possible size of its tensors.

    Raises:
        InputError: the file is missing, damaged, or too large.
    """
    read_metadata(path)  # before a large file is read that has no header
    return parse_tensors(read_bytes(path, max_bytes + HEADER_LIMIT), str(path))


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file, of which only the header is read.

    Raises:
        InputError: the file is missing, or its header is damaged.
    """
    size = int.from_bytes(read_start(path, 8), "little")
    try:
        return _parse_metadata(read_start(path, 8 + min(size, HEADER_LIMIT)))
    except (ValueError, RecursionError) as error:
        raise InputError("{path}: cannot be read: {error}", path=path, error=describe_error(error)) from None


def parse_tensors(data: bytes, where: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The same from the bytes of a file; `where` names them in errors."""
    try:
        metadata = _parse_metadata(data)
        if "sha256" in metadata:
            end = 8 + int.from_bytes(data[:8], "little")
            header = data[:end].replace(_checksum_entry(metadata["sha256"]), _checksum_entry(EMPTY_CHECKSUM), 1)
            digest = hashlib.sha256(header)
            digest.update(memoryview(data)[end:])
            if digest.hexdigest() != metadata["sha256"]:
                raise ValueError("it does not match its checksum: it is damaged")
        return load(data), metadata
    except (SafetensorError, ValueError, KeyError, RecursionError, OverflowError) as error:
        raise InputError("{path}: cannot be read: {error}", path=where, error=describe_error(error)) from None


def _parse_metadata(data: bytes) -> dict[str, str]:
    """The metadata in the header of a safetensors file; raises ValueError or RecursionError."""
    size = int.from_bytes(data[:8], "little")
    if size > min(HEADER_LIMIT, len(data) - 8):
        raise ValueError(f"its header claims {size} bytes")
    header = parse_json(data[8 : 8 + size])
    if not isinstance(header, dict):
        raise ValueError("its header is no object")
    metadata = cast("dict[str, Any]", header).get("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in cast("dict[str, Any]", metadata).values()):
        raise ValueError("its metadata are no strings")
    return cast("dict[str, str]", metadata)


def get_weights(model: SequenceModel) -> dict[str, Tensor]:
    """The weights of a model by name, a tied weight once."""
    weights = {k: v.detach().contiguous() for k, v in model.state_dict().items()}
    if model.settings.tie_weights:
        del weights["head.weight"]
    return weights


def load_weights(model: SequenceModel, weights: dict[str, Tensor], where: str) -> None:
    """Load weights into a model, after their names and shapes are checked; raises InputError."""
    check_weights(weights, get_weights(model), where)
    if model.settings.tie_weights:
        weights = {**weights, "head.weight": weights["encoder.embedding.weight"]}
    model.load_state_dict(weights)


def check_weights(
    weights: dict[str, Tensor],
    expected: dict[str, Tensor],
    where: str,
    required_by: str = message_id("config.json asks for"),
) -> None:
    """Check the names, shapes and dtypes of weights, and that their values are finite.

    Args:
        weights: the weights to check.
        expected: weights with the right names, shapes and dtypes.
        where: the beginning of an error message: where the weights come from.
        required_by: what requires these shapes, in an error message.

    Raises:
        InputError: a weight is unknown, missing, not finite, or has another shape or dtype.
    """
    if set(weights) != set(expected):
        odd = sorted(set(weights) ^ set(expected))[0]
        raise InputError(
            "{where}: the weight {name!r} is unknown" if odd in weights else "{where}: the weight {name!r} is missing",
            where=where,
            name=odd[:MAX_QUOTED],
        )
    for name, tensor in weights.items():
        if tensor.shape != expected[name].shape or tensor.dtype != expected[name].dtype:
            raise InputError(
                "{where}: {name} is {found} {dtype}; {required_by} {expected_shape} {expected_dtype}",
                where=where,
                name=name,
                found=tuple(tensor.shape),
                dtype=tensor.dtype,
                required_by=translate(required_by),
                expected_shape=tuple(expected[name].shape),
                expected_dtype=expected[name].dtype,
            )
        if not torch.isfinite(tensor).all():
            raise InputError("{where}: {name} holds values that are not finite", where=where, name=name)
