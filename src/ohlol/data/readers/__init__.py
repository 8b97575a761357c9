"""Readers: one module for each file format.

Where two readers are equally sure of a file, and where a task has several formats, the first registered is taken.
"""

from ohlol.data.readers.base import READERS, Confidence, Reader, register
from ohlol.data.readers.columns import ColumnsReader
from ohlol.data.readers.conll import ConllReader
from ohlol.data.readers.pairs import PairsReader
from ohlol.data.readers.segment import SegmentReader
from ohlol.data.readers.text import TextReader
from ohlol.data.readers.ts import TsReader

__all__ = ["READERS", "Confidence", "Reader", "register"]

for reader in (PairsReader(), ConllReader(), SegmentReader(), TextReader(), ColumnsReader(), TsReader()):
    register(reader)
del reader
