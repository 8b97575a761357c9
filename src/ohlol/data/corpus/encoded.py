"""An encoded corpus with its codec: opened, written from memory, or found again in a cache."""

import hashlib
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ohlol.config import DataSettings, expected_type
from ohlol.data.batches import Dataset
from ohlol.data.codec import Codec
from ohlol.data.codec_json import codec_from_json, codec_to_json
from ohlol.data.corpus import store
from ohlol.data.corpus.shards import ShardWriter
from ohlol.data.corpus.store import Manifest
from ohlol.data.lines import STDIN
from ohlol.data.settings import check_settings
from ohlol.data.word_vectors import TABLE, read_table, write_table
from ohlol.utils.errors import InputError, describe_error, shorten
from ohlol.utils.files import flush_directory, read_json, write_error, write_json


@dataclass(frozen=True)
class Encoded:
    """Training data and validation data as arrays, and the codec that encoded them."""

    codec: Codec
    settings: DataSettings
    parts: dict[str, Dataset]
    """By their names in `store.PARTS`."""
    data_sha256: str
    manifest: Manifest

    @property
    def train(self) -> Dataset:
        """The training data."""
        return self.parts["train"]

    @property
    def dev(self) -> Dataset | None:
        """The validation data."""
        return self.parts.get("dev")


def read(folder: Path) -> Encoded:
    """Open an encoded corpus; its arrays are mapped into memory.

    Raises:
        InputError: it is damaged or of another version, or has no training data.
    """
    manifest = store.read_manifest(folder)
    codec = read_codec(folder / store.VOCAB)
    settings = _settings(folder, manifest)
    if codec.task != manifest.task or settings.task != manifest.task:
        raise InputError("{folder}: corpus.json and vocab.json do not belong together", folder=folder)
    if codec.vectors is not None and (folder / TABLE).exists():
        codec = replace(codec, vectors=read_table(folder, codec.vectors))
    layout = codec.layout(with_targets=_has_targets(manifest))
    parts = {part: store.open_part(folder, manifest, part, layout) for part in store.PARTS}
    filled = {part: data for part, data in parts.items() if data is not None and len(data)}
    if "train" not in filled:
        raise InputError("{folder}: holds no sequences", folder=folder)
    return Encoded(codec, settings, filled, manifest.data_sha256, manifest)


def _has_targets(manifest: Manifest) -> bool:
    return all("targets.npy" in shard.files for shard in manifest.shards)


def read_codec(path: Path) -> Codec:
    """Read the `vocab.json` of a corpus or of a run; raises InputError."""
    content = read_json(path)
    try:
        return codec_from_json(content)
    except InputError as error:
        raise InputError("{path}: {error}", path=path, error=error) from None


def _settings(folder: Path, manifest: Manifest) -> DataSettings:
    try:
        settings = DataSettings(**manifest.settings)
        for field in fields(DataSettings):
            value = getattr(settings, field.name)
            if expected_type(value, field) is not None:
                raise TypeError(f"{field.name} is {value!r}")
        return check_settings(settings)
    except (TypeError, InputError) as error:
        raise InputError(
            "{folder}: its settings are damaged: {error}", folder=folder / store.MANIFEST, error=describe_error(error)
        ) from None


def write(
    folder: Path,
    codec: Codec,
    settings: DataSettings,
    parts: dict[str, Dataset],
    sources: Sequence[dict[str, Any]],
    data_sha256: str,
    *,
    with_vectors: bool = False,
) -> Encoded:
    """Write arrays in memory as a corpus with one shard for each part, replace the one in the folder, and open it.

    With `with_vectors` the word vectors of the codec, if it has any, are written beside it.

    Raises:
        InputError: it cannot be written.
    """
    layout = codec.layout()
    remove(folder)
    new = folder.with_name(folder.name + ".tmp")
    remove(new)
    try:
        new.mkdir(parents=True)
        shards: list[store.Shard] = []
        for part, data in parts.items():
            part_layout = layout.with_unseen() if part == "dev" else layout
            with ShardWriter(new, f"{part}-00000", part_layout) as writer:
                writer.add(data)
                shards.append(writer.close())
        write_json(new / store.VOCAB, codec_to_json(codec))
        if with_vectors and codec.vectors is not None:
            write_table(new, codec.vectors)
        manifest = Manifest(codec.task, settings.to_json(), tuple(shards), tuple(sources), data_sha256=data_sha256)
        store.write_manifest(new, manifest)
        new.replace(folder)
        flush_directory(folder.parent)
    except OSError as error:
        raise write_error(folder, error) from None
    finally:
        remove(new)
    return read(folder)


def remove(folder: Path) -> None:
    """Remove a corpus, complete or not; a link is removed and not followed."""
    with suppress(OSError):  # a folder that cannot be removed is refused when it is written
        if folder.is_symlink():
            folder.unlink()
        elif folder.exists():
            shutil.rmtree(folder)


def sources_of(files: Sequence[str | Path], dev: str | Path | None = None) -> list[dict[str, Any]]:
    """The files that data were read from, with their checksums, as the manifest of a cached corpus lists them."""
    return [_source(file) for file in files] + ([{**_source(dev), "dev": True}] if dev is not None else [])


def can_be_read_again(file: str | Path) -> bool:
    """Whether data can be read twice: not from standard input, a pipe or a device, which may have no end."""
    return str(file) != STDIN and (os.path.isfile(file) or os.path.isdir(file) or not os.path.exists(file))


def _source(file: str | Path) -> dict[str, Any]:
    if not can_be_read_again(file):
        return {"file": str(file), "bytes": -1}
    try:
        with Path(file).open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
            return {"file": str(file), "bytes": handle.tell(), "sha256": digest}
    except (OSError, ValueError) as error:  # ValueError: no file can have this name
        reason = error.strerror if isinstance(error, OSError) else describe_error(error)
        raise InputError("{path}: cannot be read ({error})", path=shorten(str(file)), error=reason) from None


def find_cached(folder: Path, sources: Sequence[dict[str, Any]], codec: Codec | None = None) -> Encoded | None:
    """The corpus that `write` left in a folder; None unless it is whole and has these sources and this codec."""
    if not (folder / store.MANIFEST).exists() or any(source["bytes"] < 0 for source in sources):
        return None
    try:
        manifest = store.read_manifest(folder)
        if list(manifest.sources) != list(sources):
            return None
        corpus = read(folder)
        store.verify(folder, manifest)
    except InputError:  # damaged: the data are encoded again
        return None
    return corpus if codec in (None, corpus.codec) else None
