"""The arrays that a trainer reads, with the codec that encoded them.

Those of files and tables are written into a folder as an encoded corpus and mapped into memory from there; pairs, and
runs without a directory, stay in memory.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from ohlol.config import DataSettings
from ohlol.data.batches import Dataset
from ohlol.data.codec import Codec
from ohlol.data.corpus import encoded
from ohlol.data.corpus.encoded import Encoded
from ohlol.data.interpretation import Interpretation
from ohlol.data.source import Source


@dataclass(frozen=True)
class PreparedData:
    """The arrays that a trainer reads."""

    source: Source
    codec: Codec
    settings: DataSettings
    """Complete."""
    train: Dataset
    dev: Dataset | None
    data_sha256: str
    """Identifies the data in a saved training state."""
    mapped: bool = False
    """Whether the arrays are in files already."""
    interpretation: Interpretation | None = None
    """How the first file was read, and why; None where it was read before, or there is none."""

    @property
    def files(self) -> tuple[str, ...]:
        """The files or the corpus that they come from; empty for pairs."""
        return self.source.names

    @property
    def history(self) -> Dataset | None:
        """The series that the validation data continue, one each; None where these are not the end of the same."""
        is_set_apart = not self.source.has_dev and self.codec.kind.numeric and not self.codec.kind.horizon
        return self.train if is_set_apart and self.dev is not None and len(self.dev) == len(self.train) else None

    def as_bioes(self) -> "PreparedData":
        """The same with labels of BIOES as targets, where labels are in IOB1 or IOB2."""
        codec = self.codec.with_bioes(self.train)
        if codec is self.codec:
            return self
        train, dev = codec.convert(self.train), None if self.dev is None else codec.convert(self.dev)
        digest = hashlib.sha256(f"{self.data_sha256} BIOES".encode()).hexdigest()
        return replace(self, codec=codec, train=train, dev=dev, data_sha256=digest)

    def save(self, folder: Path, *, with_vectors: bool = False) -> "PreparedData":
        """Write the arrays of files or of a table into a folder and map them from there; others stay as they are.

        A table in memory is replaced by the encoded corpus in the folder. With `with_vectors` the word vectors are
        written too; a run has them in its own directory.

        Raises:
            InputError: they cannot be written.
        """
        source = self.source if self.source.records is None else Source(corpus=folder)
        if self.mapped or not source.names:
            return self
        parts = {"train": self.train} | ({"dev": self.dev} if self.dev is not None else {})
        sources = encoded.sources_of(self.source.files, self.source.dev)
        corpus = encoded.write(
            folder, self.codec, self.settings, parts, sources, self.data_sha256, with_vectors=with_vectors
        )
        return replace(prepared_from(corpus, source), interpretation=self.interpretation)


def prepared_from(corpus: Encoded, source: Source) -> PreparedData:
    """The arrays of an encoded corpus, which are mapped into memory."""
    return PreparedData(
        source, corpus.codec, corpus.settings, corpus.train, corpus.dev, corpus.data_sha256, mapped=True
    )
