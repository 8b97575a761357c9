"""An encoded corpus on disk: its manifest and the arrays of its shards.

    corpus/  corpus.json      the manifest: what was encoded and how, and the SHA-256 of every file
             vocab.json       symbols and labels, or columns and their scales
             train-00000/     a shard: inputs.npy, offsets.npy and, if the data have them, targets.npy, forms.npy,
             dev-00000/       spellings.npy, spelling_offsets.npy, bigrams.npy

The format is specified in docs/corpus.md; shards.py writes shards. A corpus is not trusted: names, types and shapes are
checked before a file is mapped, and values when they are read.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ohlol.data.batches import Dataset, Ragged
from ohlol.data.layout import ArrayLayout
from ohlol.data.mapped import Chain, map_array
from ohlol.utils.errors import InputError, describe_error
from ohlol.utils.files import read_json, write_json
from ohlol.utils.translation import translate

FORMAT = 1
"""Version of the format; any other is refused."""
PARTS = ("train", "dev")
"""Training data, and the validation data that were set apart for evaluation."""
MANIFEST, VOCAB = "corpus.json", "vocab.json"
NAME = re.compile(r"(train|dev)-\d{5,9}", re.ASCII)
DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
LARGEST = 1 << 48
"""Sequences or steps of the largest corpus that is read."""


@dataclass(frozen=True)
class Shard:
    """A shard as the manifest describes it."""

    name: str
    sequences: int
    steps: int
    words: int = 0
    """Distinct words, if their characters are encoded."""
    letters: int = 0
    """Characters of all these words."""
    files: Mapping[str, str] = cast("Mapping[str, str]", None)
    """The SHA-256 of each file."""

    @property
    def part(self) -> str:
        """One of `PARTS`."""
        return self.name.partition("-")[0]

    def lengths(self, per_sequence: bool) -> dict[str, int]:
        """The length of each array."""
        return {
            "inputs": self.steps,
            "offsets": self.sequences + 1,
            "targets": self.sequences if per_sequence else self.steps,
            "forms": self.steps,
            "spellings": self.letters,
            "spelling_offsets": self.words + 1,
            "bigrams": self.steps,
            "statics": self.sequences,
        }


def digest_of_file(path: Path) -> str:
    """The SHA-256 of a file; raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Manifest:
    """The content of `corpus.json`."""

    task: str
    settings: dict[str, Any]
    """How the files were read, as `DataSettings`."""
    shards: tuple[Shard, ...]
    sources: tuple[dict[str, Any], ...]
    """The files that were encoded: `file`, `bytes`, and a time of modification or a checksum."""
    vocab: str = ""
    """The SHA-256 of vocab.json."""
    dev_fraction: float = 0.0
    data_sha256: str = ""
    """Identifies the data in a saved training state."""

    def of(self, part: str) -> list[Shard]:
        """The shards of a part, in order."""
        return [shard for shard in self.shards if shard.part == part]


def digest_of(shards: Iterable[Shard]) -> str:
    """A SHA-256 over the checksums of all files in order; equal for two corpora with equal bytes."""
    digest = hashlib.sha256()
    for shard in shards:
        for name, checksum in sorted(shard.files.items()):
            digest.update(f"{shard.name}/{name} {checksum}\n".encode())
    return digest.hexdigest()


def is_corpus(path: Any) -> bool:
    """Whether a path is the directory of an encoded corpus."""
    try:
        return isinstance(path, str | Path) and (Path(path) / MANIFEST).is_file()
    except (OSError, ValueError):  # too long, or with a NUL: not a path
        return False


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `corpus.json`, which completes the corpus; vocab.json and all shards exist already."""
    data = asdict(manifest) | {"vocab": digest_of_file(folder / VOCAB)}
    write_json(folder / MANIFEST, {"format": FORMAT, **data})


def read_manifest(folder: Path) -> Manifest:
    """Read `corpus.json`.

    Raises:
        InputError: it is missing, damaged, of another version, or not what `write_manifest` writes.
    """
    path = folder / MANIFEST
    data = read_json(path)
    try:
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise ValueError(f"it does not have format {FORMAT}, the only one that this version of ohlol reads")
        data = cast("dict[str, Any]", data)
        shards = tuple(_shard(entry) for entry in data["shards"])
        if len({shard.name for shard in shards}) < len(shards):
            raise ValueError("it lists a shard twice")
        return Manifest(
            str(data["task"]),
            dict(data["settings"]),
            shards,
            tuple({**source, "file": str(source["file"])} for source in data["sources"]),
            str(data["vocab"]),
            float(data["dev_fraction"]),
            str(data["data_sha256"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            "{path}: is not the manifest of an encoded corpus: {error}", path=path, error=describe_error(error)
        ) from None


def _shard(entry: dict[str, Any]) -> Shard:
    shard = Shard(**entry)
    counts = (shard.sequences, shard.steps, shard.words, shard.letters)
    if not isinstance(cast("Any", shard.name), str) or not NAME.fullmatch(shard.name):
        raise ValueError(f"a shard has the name {str(shard.name)[:40]!r}")
    if not all(type(count) is int and 0 <= count <= LARGEST for count in counts):
        raise ValueError(f"the counts of {shard.name} are out of range")
    files = cast("Any", shard.files)
    if not isinstance(files, dict) or not all(DIGEST.fullmatch(str(d)) for d in cast("dict[str, Any]", files).values()):
        raise ValueError(f"the checksums of {shard.name} are not SHA-256")
    return shard


def open_part(folder: Path, manifest: Manifest, part: str, layout: ArrayLayout) -> Dataset | None:
    """Map the arrays of a part into memory; None where it has no shards.

    Raises:
        InputError: a file is missing, or its type or shape is not that of the manifest and the vocabulary.
    """
    shards = manifest.of(part)
    if not shards:
        return None
    types = {name: {dtype} for name, (dtype, _) in layout.arrays().items()}
    if part == "dev":
        layout = layout.with_unseen()
    maps = {
        name: [
            map_array(
                folder / s.name / f"{name}.npy",
                {dtype, *types[name]},
                (s.lengths(layout.per_sequence)[name], *shape),
                translate("encode the corpus again"),
            )
            for s in shards
        ]
        for name, (dtype, shape) in layout.arrays().items()
    }

    def label(name: str) -> str:
        return f"{folder}: {part}: {name}.npy"

    def chain(name: str, count: int) -> Chain | None:
        if name not in maps:
            return None
        return Chain(maps[name], limits=[count - 1] * len(shards) if count else None, name=label(name))

    steps, words = [s.steps for s in shards], [s.words for s in shards]
    inputs = chain("inputs", layout.inputs)
    assert inputs is not None
    word_ids, word_chars = None, None
    if layout.chars:
        word_ids = Chain(maps["forms"], limits=[w - 1 for w in words], shifts=_before(words), name=label("forms"))
        letters = chain("spellings", layout.chars)
        assert letters is not None
        ends = _offsets(maps["spelling_offsets"], [s.letters for s in shards], label("spelling_offsets"))
        word_chars = Ragged(letters, ends)
    return Dataset(
        Ragged(inputs, _offsets(maps["offsets"], steps, label("offsets"))),
        chain("targets", 256 if layout.multiple else layout.targets),
        layout.per_sequence,
        word_ids,
        word_chars,
        chain("bigrams", layout.bigrams),
        statics=chain("statics", 0),
    )


def _before(counts: Iterable[int]) -> list[int]:
    return np.cumsum([0, *counts])[:-1].tolist()


def _offsets(parts: list[NDArray[Any]], totals: list[int], name: str) -> Chain:
    """The offsets of all shards as one array, in which the end of a shard is the start of the next."""
    for part, total in zip(parts, totals, strict=True):
        if part[0] != 0 or part[-1] != total:
            raise InputError(
                "{name}: damaged: it goes from {first} to {last}, and should go from 0 to {total}",
                name=name,
                first=part[0],
                last=part[-1],
                total=total,
            )
    ends = np.array([0])
    return Chain(
        [*(part[:-1] for part in parts), ends],
        limits=[*totals, 0],
        shifts=[*_before(totals), sum(totals)],
        name=name,
    )


def verify(folder: Path, manifest: Manifest) -> None:
    """Compare every file with its SHA-256; raises InputError at the first that differs.

    The corpus must have been opened before, which checks the sizes of its files: all of their bytes are read here.
    """
    files = [(Path(VOCAB), manifest.vocab)]
    files += [(Path(shard.name) / name, digest) for shard in manifest.shards for name, digest in shard.files.items()]
    for name, digest in files:
        path = folder / name
        try:
            if ".." in name.parts or path.is_symlink() or not path.is_file():
                raise InputError("{path}: is missing", path=path)
            actual = digest_of_file(path)
        except OSError as error:
            raise InputError("{path}: cannot be read: {error}", path=path, error=error.strerror) from None
        if actual != digest:
            raise InputError("{path}: damaged: it does not match its checksum; encode the corpus again", path=path)
