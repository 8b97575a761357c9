"""An encoded corpus on disk: the arrays of its shards and the manifest over them, read; knows nothing of symbols.

    corpus/  corpus.json      what was encoded and how, and the SHA-256 of every file
             vocab.json       symbols and labels, or columns and their scales
             train-00000/     a shard: inputs.npy offsets.npy, and where there are such targets.npy, forms.npy
             dev-00000/       spellings.npy spelling_offsets.npy bigrams.npy

The format is specified in docs/corpus.md, and shards.py writes shards. What is read may come from a stranger: names,
types and shapes are checked before a file is mapped, and numbers when they are read.
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
from ohlol.data.mapped import Chain
from ohlol.utils.errors import InputError, short
from ohlol.utils.files import read_json, write_json

FORMAT = 1
"""Version of the encoded corpus; a reader refuses any other."""
PARTS = ("train", "dev")
"""What is trained on, and what was set apart for measuring."""
MANIFEST, VOCAB = "corpus.json", "vocab.json"
NAME = re.compile(r"(train|dev)-\d{5,9}", re.ASCII)
DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
MAGIC = b"\x93NUMPY\x01\x00"
"""How an array file begins: numpy's format 1.0, whose header has 64 KiB at most."""
MOST = 1 << 48
"""Sequences or steps of the largest corpus read."""


@dataclass(frozen=True)
class Layout:
    """Which arrays a corpus has, and how large their numbers may be."""

    inputs: int = 0
    """Different ids of the inputs; 0 where they are rows of numbers."""
    columns: int = 0
    """Columns of the inputs where they are numbers."""
    targets: int = 0
    """Different labels; 0 where there are none or they are numbers."""
    target_columns: int = 0
    chars: int = 0
    """Different characters of spelled words; 0 where words are not spelled."""
    bigrams: int = 0
    whole: bool = False
    """Whether a target belongs to a whole sequence."""

    def arrays(self) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
        """For each file the type of its array and its shape beyond the first axis."""
        found: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {"offsets": (np.dtype("<i8"), ())}
        number = np.dtype("<f4")
        found["inputs"] = (number, (self.columns,)) if self.columns else (smallest(self.inputs), ())
        if self.target_columns:
            found["targets"] = (number, (self.target_columns,))
        elif self.targets:
            found["targets"] = (smallest(self.targets), ())
        if self.chars:
            found |= {"forms": (np.dtype("<u4"), ()), "spellings": (smallest(self.chars), ())}
            found["spelling_offsets"] = (np.dtype("<i8"), ())
        if self.bigrams:
            found["bigrams"] = (smallest(self.bigrams), (2,))
        return found


def smallest(count: int) -> np.dtype[Any]:
    """The smallest type of integers that holds the ids 0 to count - 1, little end first.

    >>> smallest(256).str, smallest(257).str
    ('|u1', '<u2')
    """
    return np.dtype("u1" if count <= 1 << 8 else "<u2" if count <= 1 << 16 else "<u4")


@dataclass(frozen=True)
class Shard:
    """What the manifest says of a shard."""

    name: str
    sequences: int
    steps: int
    words: int = 0
    """Different words, where they are spelled."""
    letters: int = 0
    """Characters of these words together."""
    files: Mapping[str, str] = cast("Mapping[str, str]", None)
    """The SHA-256 of each file."""

    @property
    def part(self) -> str:
        """One of `PARTS`."""
        return self.name.partition("-")[0]

    def lengths(self, whole: bool) -> dict[str, int]:
        """The length of each array."""
        return {
            "inputs": self.steps,
            "offsets": self.sequences + 1,
            "targets": self.sequences if whole else self.steps,
            "forms": self.steps,
            "spellings": self.letters,
            "spelling_offsets": self.words + 1,
            "bigrams": self.steps,
        }


def digest_of_file(path: Path) -> str:
    """The SHA-256 of a file; raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Manifest:
    """What `corpus.json` holds."""

    task: str
    settings: dict[str, Any]
    """How the files were read, as `DataSettings`."""
    shards: tuple[Shard, ...]
    sources: tuple[dict[str, Any], ...]
    """The files it was made of: `file` and `bytes`, and what else whoever made it wants to know them by."""
    vocab: str = ""
    """The SHA-256 of vocab.json."""
    dev_fraction: float = 0.0
    data_sha256: str = ""
    """By which a saved state knows its data; what it is taken of depends on who made the corpus."""

    def of(self, part: str) -> list[Shard]:
        """The shards of a part, in order."""
        return [shard for shard in self.shards if shard.part == part]


def digest_of(shards: Iterable[Shard]) -> str:
    """A SHA-256 over those of all files, in order: two corpora of equal bytes have the same."""
    digest = hashlib.sha256()
    for shard in shards:
        for name, found in sorted(shard.files.items()):
            digest.update(f"{shard.name}/{name} {found}\n".encode())
    return digest.hexdigest()


def is_corpus(path: Any) -> bool:
    """Whether a path is the directory of an encoded corpus."""
    try:
        return isinstance(path, str | Path) and (Path(path) / MANIFEST).is_file()
    except (OSError, ValueError):  # too long, or with a NUL: a text
        return False


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `corpus.json`, which makes the corpus complete; vocab.json and all shards are there."""
    data = asdict(manifest) | {"vocab": digest_of_file(folder / VOCAB)}
    write_json(folder / MANIFEST, {"format": FORMAT, **data})


def read_manifest(folder: Path) -> Manifest:
    """Read `corpus.json`.

    Raises:
        InputError: missing, damaged, of another version, or not what `write_manifest` writes.
    """
    path = folder / MANIFEST
    data = read_json(path)
    try:
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise ValueError(f"it has no format {FORMAT}, the only one that this version of ohlol reads")
        data = cast("dict[str, Any]", data)
        shards = tuple(_shard(entry) for entry in data["shards"])
        if len({shard.name for shard in shards}) < len(shards):
            raise ValueError("a shard stands twice in it")
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
        raise InputError(f"{path}: is not the manifest of an encoded corpus: {short(error)}") from None


def _shard(entry: dict[str, Any]) -> Shard:
    shard = Shard(**entry)
    counts = (shard.sequences, shard.steps, shard.words, shard.letters)
    if not isinstance(cast("Any", shard.name), str) or not NAME.fullmatch(shard.name):
        raise ValueError(f"a shard has the name {str(shard.name)[:40]!r}")
    if not all(type(count) is int and 0 <= count <= MOST for count in counts):
        raise ValueError(f"the counts of {shard.name} are out of range")
    files = cast("Any", shard.files)
    if not isinstance(files, dict) or not all(DIGEST.fullmatch(str(d)) for d in cast("dict[str, Any]", files).values()):
        raise ValueError(f"the checksums of {shard.name} are none")
    return shard


def open_part(folder: Path, manifest: Manifest, part: str, layout: Layout) -> Dataset | None:
    """Map the arrays of a part; None where there are none.

    Raises:
        InputError: a file is missing, of another type or shape than the manifest and the vocabulary ask for.
    """
    shards = manifest.of(part)
    if not shards:
        return None
    wanted = layout.arrays()
    maps = {
        name: [_mapped(folder / s.name / f"{name}.npy", dtype, (s.lengths(layout.whole)[name], *shape)) for s in shards]
        for name, (dtype, shape) in wanted.items()
    }

    def where(name: str) -> str:
        return f"{folder}: {part}: {name}.npy"

    def chain(name: str, count: int) -> Chain | None:
        if name not in maps:
            return None
        return Chain(maps[name], limits=[count - 1] * len(shards) if count else None, name=where(name))

    steps, words = [s.steps for s in shards], [s.words for s in shards]
    inputs = chain("inputs", layout.inputs)
    assert inputs is not None
    forms, spellings = None, None
    if layout.chars:
        forms = Chain(maps["forms"], limits=[w - 1 for w in words], shifts=_before(words), name=where("forms"))
        letters = chain("spellings", layout.chars)
        assert letters is not None
        ends = _offsets(maps["spelling_offsets"], [s.letters for s in shards], where("spelling_offsets"))
        spellings = Ragged(letters, ends)
    return Dataset(
        Ragged(inputs, _offsets(maps["offsets"], steps, where("offsets"))),
        chain("targets", layout.targets),
        layout.whole,
        forms,
        spellings,
        chain("bigrams", layout.bigrams),
    )


def _before(counts: Iterable[int]) -> list[int]:
    return np.cumsum([0, *counts])[:-1].tolist()


def _offsets(parts: list[NDArray[Any]], totals: list[int], name: str) -> Chain:
    """The offsets of all shards as one array; the end of a shard is the start of the next."""
    for part, total in zip(parts, totals, strict=True):
        if part[0] != 0 or part[-1] != total:
            raise InputError(f"{name}: damaged: it goes from {part[0]} to {part[-1]}, and should go from 0 to {total}")
    ends = np.array([0])
    return Chain(
        [*(part[:-1] for part in parts), ends],
        limits=[*totals, 0],
        shifts=[*_before(totals), sum(totals)],
        name=name,
    )


def _mapped(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    try:
        if path.is_symlink() or not path.is_file():
            raise InputError(f"{path}: is no plain file; the corpus is damaged: encode it again")
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise ValueError("it does not begin as an array file")
        if not np.prod(shape):  # an empty file cannot be mapped
            return np.empty(shape, dtype)
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, SyntaxError, RecursionError, OverflowError, MemoryError, TypeError) as error:
        raise InputError(f"{path}: damaged: {short(error)}") from None
    if found.dtype != dtype or found.shape != shape or not found.flags.c_contiguous:
        raise InputError(f"{path}: damaged: it holds {found.dtype} {found.shape}, and should hold {dtype} {shape}")
    return found


def verify(folder: Path, manifest: Manifest) -> None:
    """Compare every file with its SHA-256. Raises InputError at the first that differs."""
    files = [(Path(VOCAB), manifest.vocab)]
    files += [(Path(shard.name) / name, digest) for shard in manifest.shards for name, digest in shard.files.items()]
    for name, digest in files:
        path = folder / name
        try:
            if ".." in name.parts or path.is_symlink() or not path.is_file():
                raise InputError(f"{path}: is missing")
            found = digest_of_file(path)
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from None
        if found != digest:
            raise InputError(f"{path}: damaged: it does not match its checksum; encode the corpus again")
