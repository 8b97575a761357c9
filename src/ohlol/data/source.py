"""Where data come from: files, pairs, a table in memory or an encoded corpus."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ohlol.data.corpus import store
from ohlol.data.frames import Records, read_records
from ohlol.data.split import MIN_SEQUENCES_TO_SPLIT
from ohlol.utils.errors import InputError

Data = Any
"""Data as users pass them: one file or several, the directory of an encoded corpus, pairs, or a table in memory (of any
type that `frames.read_records` reads); None is the tutorial's pair."""
HELLO = (("hello", "ohlol"),)
"""The tutorial's pair, for training without data."""


def is_tutorial(pairs: Sequence[Any]) -> bool:
    """Whether data are so few pairs that they are trained with the tutorial's settings."""
    return 0 < len(pairs) < MIN_SEQUENCES_TO_SPLIT


def corpus_folder(data: Any) -> Path | None:
    """The directory of the encoded corpus that data are; None where they are not one.

    Raises:
        InputError: a corpus is mixed with other data.
    """
    paths: list[Any] = [data] if isinstance(data, str | Path) else list(data or ())
    folders = [path for path in paths if store.is_corpus(path)]
    if folders and len(paths) > 1:
        raise InputError(
            "{folders} is an encoded corpus and cannot be mixed with others: encode all files as one",
            folders=folders[0],
        )
    return Path(folders[0]) if folders else None


@dataclass(frozen=True)
class Source:
    """Where data come from: exactly one of files, pairs, a table in memory and an encoded corpus."""

    files: tuple[str, ...] = ()
    pairs: tuple[Any, ...] = ()
    corpus: Path | None = None
    dev: str | None = None
    """A file or an encoded corpus to evaluate on; otherwise a part of the data is set apart."""
    records: Records | None = None
    """A table in memory, in the place of files."""
    dev_records: Records | None = None
    """A table in memory to evaluate on."""

    @staticmethod
    def parse(data: Any, dev: Any = None) -> "Source":
        """Tell files, pairs, tables and an encoded corpus apart; without data it is the tutorial's pair.

        Raises:
            InputError: an encoded corpus is mixed with other data, or a name is empty.
        """
        dev_records = read_records(dev)
        dev = None if dev is None or dev_records is not None else str(dev)
        if dev_records is not None:
            return replace(Source.parse(data), dev_records=dev_records)
        records = read_records(data)
        if records is not None:
            return Source(records=records, dev=dev)
        if data is None:
            return Source(pairs=HELLO, dev=dev)
        if not isinstance(data, str | Path) and len(data) > 0 and isinstance(data[0], tuple):
            return Source(pairs=tuple(data), dev=dev)
        corpus = corpus_folder(data)
        if corpus is not None:
            return Source(corpus=corpus, dev=dev)
        paths: Any = [data] if isinstance(data, str | Path) else data
        if "" in paths:
            raise InputError("the name of a file is empty")
        return Source(files=tuple(dict.fromkeys(map(str, paths))), dev=dev)

    @property
    def has_dev(self) -> bool:
        """Whether there are data of their own to evaluate on."""
        return self.dev is not None or self.dev_records is not None

    @property
    def names(self) -> tuple[str, ...]:
        """The files or the corpus, as `config.json` lists them; empty for pairs."""
        return (str(self.corpus),) if self.corpus is not None else self.files

    def check_split(self, chosen: Collection[str]) -> None:
        """Raise InputError where `dev_fraction` was chosen for a corpus, which was split when it was encoded."""
        if self.corpus is not None and "dev_fraction" in chosen:
            raise InputError(
                "`dev_fraction` is chosen when a corpus is encoded, and {corpus} is encoded already", corpus=self.corpus
            )
