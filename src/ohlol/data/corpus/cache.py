"""Data that several runs read: read once, and kept encoded for each way in which settings want them; trains nothing."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ohlol.config import DataSettings, ModelSettings, TrainSettings
from ohlol.data import loading
from ohlol.data.corpus.encoded import Encoded
from ohlol.data.lines import STDIN
from ohlol.data.loading import Arrays, Source
from ohlol.data.sequences import Corpus
from ohlol.data.split import FEW
from ohlol.utils.errors import InputError


class Shelf:
    """The data of some runs.

    Files are read when they are first asked for, encoded, and mapped into memory from a folder, where later processes
    find them too. An encoded corpus is mapped as it is; pairs stay in memory.

    Args:
        folder: where encoded data are kept.
        data: files, an encoded corpus or pairs.
        dev: a file or a corpus to measure on; otherwise a share of the data.
        given: settings of the data that were chosen.

    Raises:
        InputError: the data are standard input, which can be read once only.
    """

    def __init__(self, folder: Path, data: Source, dev: str | Path | None, given: dict[str, Any]):
        self.data, self.dev, self.given = data, dev, given
        self.pairs = loading.pairs_of(data)
        self.corpus = loading.corpus_of(data)
        listed: Any = [data] if isinstance(data, str | Path) else data or ()
        self.files = () if self.pairs or self.corpus else tuple(dict.fromkeys(map(str, listed)))
        if STDIN in self.files or str(dev) == STDIN:
            raise InputError("standard input can be read once only, and each trial reads the data: give a file")
        told = json.dumps([given, None if dev is None else str(dev)], sort_keys=True)
        self.folder = folder / hashlib.sha256(told.encode()).hexdigest()[:12]
        self._found: Corpus | Encoded | None = None
        self._settings: DataSettings | None = None
        self._made: dict[str, Arrays] = {}

    @property
    def settings(self) -> DataSettings:
        """How the data are read, complete; raises InputError where they cannot be."""
        if self._settings is None:
            kept = next(self._all_kept(), None)
            self._settings = kept.settings if kept is not None else self._read().settings
        return self._settings

    def arrays(self, model: ModelSettings, training: TrainSettings) -> Arrays:
        """What runs with these settings read; raises InputError. One process at a time may call it for one folder."""
        key = "-".join(
            [f"seed{training.seed}", f"dev{training.dev_fraction:g}"]
            + [
                name
                for name, wanted in zip(
                    WAYS, (training.unk_probability, model.char_rnn_size, model.bigram_size), strict=True
                )
                if wanted
            ]
        )
        if key not in self._made:
            self._made[key] = self._arrays(self.folder / key, model, training)
        return self._made[key]

    def _arrays(self, folder: Path, model: ModelSettings, training: TrainSettings) -> Arrays:
        if self.files and (kept := loading.kept(folder, self.files, self.dev)) is not None:
            return kept
        shared = 0 < len(self.pairs) < FEW
        made = loading.arrays(self._read(), self.data, self.dev, model, training, shared=shared)
        if not self.files:
            return made
        made = loading.keep(folder, made, self.dev)
        self._found = None  # the arrays are what is read from now on
        return made

    def _read(self) -> Corpus | Encoded:
        if self._found is None:
            self._found = loading.read(self.data, self.given)
        return self._found

    def _all_kept(self) -> Iterator[Arrays]:
        if self.files:
            for folder in sorted(self.folder.glob("seed*")):
                kept = loading.kept(folder, self.files, self.dev)
                if kept is not None:
                    yield kept


WAYS = ("unknown", "spelled", "paired")
"""In which data can be encoded, beside how they are split."""
