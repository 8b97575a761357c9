"""A cache of the data that several runs read: encoded once for each combination of settings that changes the arrays."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ohlol.config import DataSettings, ModelSettings, TrainSettings
from ohlol.data.char_lm import CharLM
from ohlol.data.corpus import encoded
from ohlol.data.corpus.encoded import Encoded
from ohlol.data.data_preparer import DataPreparer
from ohlol.data.lines import name_of
from ohlol.data.prepared_data import PreparedData
from ohlol.data.source import Source
from ohlol.data.targets import COUNT_HEADS, TARGET_KINDS
from ohlol.utils.errors import InputError

EXTRA_ENCODINGS = ("unknown", "spelled", "paired")
"""Parts of the name of a cached corpus, for what is encoded in addition to the symbols: <unk>, the characters of words,
and bigrams."""


class CachedLoader:
    """Loads the data of several runs.

    Files are read when they are first needed, encoded, and mapped into memory from a folder, where other processes find
    them too. An encoded corpus is mapped as it is; pairs stay in memory.

    Args:
        folder: where encoded data are written.
        source: the data.
        chosen: settings of the data that were chosen, by name.
        char_lms: the language models that the models read.

    Raises:
        InputError: the data are standard input, a pipe or a device, which can be read only once.
    """

    def __init__(self, folder: Path, source: Source, chosen: dict[str, Any], char_lms: tuple[CharLM, ...] = ()):
        for file in (*source.files, *([] if source.dev is None else [source.dev])):
            if not encoded.can_be_read_again(file):
                raise InputError(
                    "{file}: can be read only once, and each trial reads the data: give a file", file=name_of(file)
                )
        self.source = source
        self._preparer = DataPreparer(source, chosen, char_lms=char_lms)
        key = json.dumps([chosen, source.dev], sort_keys=True)
        self.folder = folder / hashlib.sha256(key.encode()).hexdigest()[:12]
        self._settings: DataSettings | None = None
        self._loaded: dict[str, PreparedData] = {}

    @property
    def settings(self) -> DataSettings:
        """How the data are read, complete; raises InputError where they cannot be read."""
        if self._settings is None:
            cached = next(self._cached(), None)
            self._settings = (cached or self._preparer).settings
        return self._settings

    def load(self, model: ModelSettings, training: TrainSettings) -> PreparedData:
        """The arrays for a model, as `DataPreparer.prepare`; one process at a time may call it for one folder."""
        used = (training.unk_probability, model.char_rnn_size or model.char_lm, model.bigram_size)
        encodings = [name for name, size in zip(EXTRA_ENCODINGS, used, strict=True) if size]
        if model.vectors is not None:
            encodings.append(f"vectors{_identify(model.vectors, model.vectors_limit)}")
        encodings += [f"{lm.name}{lm.identity[:12]}" for lm in self._preparer.char_lms]
        parts = [f"seed{training.seed}", f"dev{training.dev_fraction:g}", *encodings]
        if TARGET_KINDS[self.settings.task or ""].horizon:
            parts.append(f"context{training.bptt}")  # rows with which the validation data begin
            parts += ["counts"] * COUNT_HEADS.select(model.head)
        name = "-".join(parts)
        if name not in self._loaded:
            folder = self.folder / name
            prepared = self._preparer.prepare(model, training, cache=folder).save(folder, with_vectors=True)
            if prepared.codec.char_lms:  # a cached codec does not have their folders
                prepared = replace(prepared, codec=replace(prepared.codec, char_lms=self._preparer.char_lms))
            self._loaded[name] = prepared
            if self.source.files:
                self._preparer.release()
        return self._loaded[name]

    def _cached(self) -> Iterator[Encoded]:
        if self.source.files:
            sources = encoded.sources_of(self.source.files, self.source.dev)
            for folder in sorted(self.folder.glob("seed*")):
                corpus = encoded.find_cached(folder, sources)
                if corpus is not None:
                    yield corpus


def _identify(vectors: str, limit: int) -> str:
    """A file of word vectors as it is now, and how many of them are kept, in the name of a cached corpus."""
    try:
        status = Path(vectors).stat()
    except OSError as error:
        raise InputError("{path}: cannot be read: {error}", path=vectors, error=error.strerror) from None
    key = json.dumps([vectors, status.st_size, status.st_mtime_ns, limit])
    return hashlib.sha256(key.encode()).hexdigest()[:12]
