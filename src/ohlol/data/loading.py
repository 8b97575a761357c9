"""Data as they are given, files, pairs or an encoded corpus, become the arrays a trainer reads; knows no training loop.

There is one way: whatever it was, it becomes an encoded corpus, mapped into memory. That of files lies beside the run,
in `resume/data`; only pairs, and runs that write nothing, stay in memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ohlol.config import DataSettings, ModelSettings, TrainSettings
from ohlol.data import sequences
from ohlol.data.batches import Dataset, fingerprint
from ohlol.data.codec import Codec
from ohlol.data.corpus import encoded, store
from ohlol.data.corpus.encoded import Encoded
from ohlol.data.sequences import Corpus
from ohlol.data.split import set_apart
from ohlol.utils.errors import InputError

Source = str | Path | Sequence[str | Path] | Sequence[tuple[str | Sequence[str], str | Sequence[str]]] | None
HELLO = (("hello", "ohlol"),)
"""The built-in pair: the tutorial's."""
KEPT = Path("resume") / "data"
"""Where in a run directory the encoded data lie."""


@dataclass(frozen=True)
class Arrays:
    """What a trainer reads."""

    codec: Codec
    settings: DataSettings
    train: Dataset
    dev: Dataset | None
    data_sha256: str
    """By which a saved state knows its data."""
    files: tuple[str, ...] = ()
    """What they came from; none where that was pairs."""
    mapped: bool = False
    """Whether they lie in files already: in an encoded corpus, or beside the run."""


def pairs_of(data: Any) -> tuple[Any, ...]:
    """The pairs that data are, the tutorial's where there are none; empty where they are files."""
    if data is None:
        return HELLO
    return tuple(data) if not isinstance(data, str | Path) and len(data) > 0 and isinstance(data[0], tuple) else ()


def corpus_of(data: Any) -> Path | None:
    """The directory of the encoded corpus that data are; None where they are none."""
    paths: list[Any] = [data] if isinstance(data, str | Path) else list(data or ())
    found = [path for path in paths if store.is_corpus(path)]
    if found and len(paths) > 1:
        raise InputError(f"{found[0]} is an encoded corpus and does not mix with others: encode all files as one")
    return Path(found[0]) if found else None


def read(data: Source, given: dict[str, Any]) -> Corpus | Encoded:
    """Read files or pairs, or open an encoded corpus.

    Raises:
        InputError: it cannot be read; a setting given is not that of the corpus.
    """
    folder = corpus_of(data)
    if folder is not None:
        found = encoded.read(folder)
        for name, value in given.items():
            if getattr(found.settings, name) != value:
                flag = "--" + name.replace("_", "-")
                raise InputError(f"{folder} was encoded with {flag} {getattr(found.settings, name)}, not {value}")
        return found
    pairs = pairs_of(data)
    settings = DataSettings(**given)
    return sequences.sequences_from_pairs(pairs) if pairs else sequences.read(data, settings)  # pyright: ignore[reportArgumentType]


def arrays(
    found: Corpus | Encoded,
    data: Source,
    dev: str | Path | None,
    model: ModelSettings,
    training: TrainSettings,
    *,
    shared: bool,
) -> Arrays:
    """The arrays of what `read` gave, in memory where it was no encoded corpus.

    Args:
        found: what was read.
        data: what it was read from.
        dev: a file or a corpus to measure on; without it a share of the data.
        model: decides what is learned of the data: spellings, pairs of neighbours.
        training: how much is set apart, and whether there is an <unk>.
        shared: whether inputs and labels are the same symbols, as in the tutorial.

    Raises:
        InputError: `dev` cannot be read, or is of another kind.
    """
    if isinstance(found, Encoded):
        return _of_corpus(found, str(corpus_of(data)), dev, model)
    files = () if pairs_of(data) else tuple(dict.fromkeys(str(file) for file, _ in found.places))
    if dev is not None:
        train, apart = found, sequences.read(dev, found.settings)
    else:
        train, apart = set_apart(found, training.dev_fraction, training.seed, unknowns=bool(training.unk_probability))
    codec = learned(train, model, training, shared=shared)
    one, two = codec.encode(train), codec.encode(apart) if apart is not None else None
    return Arrays(codec, found.settings, one, two, fingerprint(one, two), files)


def learned(train: Corpus, model: ModelSettings, training: TrainSettings, *, shared: bool) -> Codec:
    """The codec that these settings want of some training data."""
    by_word = train.task in ("label", "classify") and train.settings.level == "word"
    by_character = train.task == "label" and train.settings.level == "char"
    return Codec.learn(
        train,
        unknowns=bool(training.unk_probability),
        spelled=bool(model.char_rnn_size) and by_word,
        paired=bool(model.bigram_size) and by_character,
        shared=shared and by_character,
    )


def _of_corpus(found: Encoded, folder: str, dev: str | Path | None, model: ModelSettings) -> Arrays:
    apart, digest = found.dev, found.data_sha256
    if dev is not None and store.is_corpus(dev):
        other = encoded.read(Path(dev))
        if other.codec != found.codec:
            raise InputError(f"{dev} was encoded with another vocabulary: ohlol encode ... --vocab {folder}")
        if other.dev is not None:
            raise InputError(f"{dev} has a part set apart for measuring of its own; encode it with --dev-fraction 0")
        apart, digest = other.train, digest + other.data_sha256
    elif dev is not None:
        apart = found.codec.encode(sequences.read(dev, found.settings))
        digest += fingerprint(apart)
    if found.train.targets is None and found.codec.task != "next":
        raise InputError(f"{folder} was encoded without targets; encode it again without --no-targets")
    train, apart = (_lean(data, model) if data is not None else None for data in (found.train, apart))
    assert train is not None
    return Arrays(found.codec, found.settings, train, apart, digest, (folder,), mapped=True)


def _lean(data: Dataset, model: ModelSettings) -> Dataset:
    """Without the arrays that a model does not read."""
    if not model.char_rnn_size:
        data = replace(data, forms=None, spellings=None)
    return data if model.bigram_size else replace(data, bigrams=None)


def keep(folder: Path, made: Arrays, dev: str | Path | None) -> Arrays:
    """Put the arrays of files into a folder, and map them into memory from there."""
    if made.mapped or not made.files:
        return made
    parts = {"train": made.train} | ({"dev": made.dev} if made.dev is not None else {})
    sources = encoded.sources_of(made.files, dev)
    found = encoded.write(folder, made.codec, made.settings, parts, sources, made.data_sha256)
    return _mapped(found, made.files)


def beside(folder: Path, files: Sequence[str]) -> Arrays:
    """The arrays in a folder, where another process has put them."""
    return _mapped(encoded.read(folder), files)


def kept(folder: Path, files: Sequence[str], dev: str | Path | None, codec: Codec | None = None) -> Arrays | None:
    """The arrays in a folder, if they are those of these files as they are now, and of this codec."""
    found = encoded.kept(folder, encoded.sources_of(files, dev), codec)
    return None if found is None else _mapped(found, files)


def _mapped(found: Encoded, files: Sequence[str]) -> Arrays:
    return Arrays(found.codec, found.settings, found.train, found.dev, found.data_sha256, tuple(files), mapped=True)
