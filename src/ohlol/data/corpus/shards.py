"""A shard of an encoded corpus, written a piece at a time and whole or not at all; knows nothing of what reads it.

It has a temporary name until all its arrays are on the disk.
"""

import io
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ohlol.data.batches import Dataset, Ragged
from ohlol.data.corpus.store import Layout, Shard, digest_of_file
from ohlol.data.mapped import in_memory
from ohlol.utils.files import flush, flush_directory, write_error


class _Growing:
    """An array file that is added to; its header is written last."""

    def __init__(self, path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], held: ExitStack):
        self.dtype, self.shape, self.length = dtype, shape, 0
        self.file: BinaryIO = held.enter_context(path.open("xb"))
        self.file.write(self._header())

    def add(self, values: NDArray[Any]) -> None:
        self.file.write(np.ascontiguousarray(values, self.dtype).data)
        self.length += len(values)

    def close(self) -> None:
        self.file.seek(0)
        self.file.write(self._header())
        flush(self.file)

    def _header(self) -> bytes:
        """The header, always of one size: numpy leaves room for the first axis to grow."""
        made = io.BytesIO()
        about = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.length, *self.shape)}
        np.lib.format.write_array_header_1_0(made, about)
        return made.getvalue()


class ShardWriter:
    """Writes a shard a piece at a time, under a temporary name until `close`; leaving it otherwise takes it away.

    Args:
        folder: of the corpus.
        name: of the shard.
        layout: of the corpus.
    """

    def __init__(self, folder: Path, name: str, layout: Layout):
        self.final, self.layout = folder / name, layout
        self.folder = folder / (name + ".tmp")
        self._held = ExitStack()
        self._words: dict[bytes, int] = {}
        self.sequences = self.steps = 0

    def __enter__(self) -> "ShardWriter":
        with ExitStack() as undone:
            undone.push(self.__exit__)
            try:
                _remove(self.folder)  # of a process that was killed
                self.folder.mkdir()
                self.arrays = {
                    name: _Growing(self.folder / f"{name}.npy", dtype, shape, self._held)
                    for name, (dtype, shape) in self.layout.arrays().items()
                }
                for name in ("offsets", "spelling_offsets"):
                    if name in self.arrays:
                        self.arrays[name].add(np.zeros(1, np.int64))
            except OSError as error:
                raise write_error(self.folder, error) from None
            undone.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()
        if self.folder.exists():
            _remove(self.folder)

    def add(self, data: Dataset) -> None:
        """Add some sequences. Raises InputError where the disk is full or cannot be written to."""
        before = self.steps
        self.add_steps(in_memory(data.inputs.values))
        self.end_sequences(in_memory(data.inputs.offsets)[1:] + before)
        if data.targets is not None:
            self.add_targets(in_memory(data.targets))
        try:
            if data.forms is not None and data.spellings is not None:
                self._add_forms(in_memory(data.forms), data.spellings)
            if data.bigrams is not None:
                self.arrays["bigrams"].add(in_memory(data.bigrams))
        except OSError as error:
            raise write_error(self.folder, error) from None

    def add_steps(self, values: NDArray[Any]) -> None:
        """Add to the inputs alone."""
        try:
            self.arrays["inputs"].add(values)
        except OSError as error:
            raise write_error(self.folder, error) from None
        self.steps += len(values)

    def add_targets(self, values: NDArray[Any]) -> None:
        """Add to the targets alone."""
        try:
            self.arrays["targets"].add(values)
        except OSError as error:
            raise write_error(self.folder, error) from None

    def end_sequences(self, ends: NDArray[np.int64]) -> None:
        """Say where sequences end, in steps of the shard."""
        try:
            self.arrays["offsets"].add(ends)
        except OSError as error:
            raise write_error(self.folder, error) from None
        self.sequences += len(ends)

    def _add_forms(self, forms: NDArray[np.int64], spellings: Ragged) -> None:
        """Words by their spelling, every different one once in a shard."""
        values, offsets = in_memory(spellings.values), in_memory(spellings.offsets)
        rows = np.empty(len(spellings), np.int64)
        for row, (start, end) in enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)):
            letters = values[start:end]
            key, known = letters.astype("<u4").tobytes(), len(self._words)
            rows[row] = self._words.setdefault(key, known)
            if len(self._words) > known:
                self.arrays["spellings"].add(letters)
                self.arrays["spelling_offsets"].add(np.array([self.arrays["spellings"].length]))
        self.arrays["forms"].add(rows[forms])

    def close(self) -> Shard:
        """Put the shard in its place."""
        try:
            for array in self.arrays.values():
                array.close()
            self._held.close()
            digests = {f"{name}.npy": digest_of_file(self.folder / f"{name}.npy") for name in sorted(self.arrays)}
            flush_directory(self.folder)
            _remove(self.final)
            self.folder.replace(self.final)
            flush_directory(self.final.parent)
        except OSError as error:
            raise write_error(self.final, error) from None
        letters = self.arrays["spellings"].length if "spellings" in self.arrays else 0
        return Shard(self.final.name, self.sequences, self.steps, len(self._words), letters, digests)


def _remove(folder: Path) -> None:
    """Take a shard away, whole or not; a link in its place is taken away and not followed."""
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)
