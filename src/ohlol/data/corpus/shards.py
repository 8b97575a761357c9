"""Writing a shard of an encoded corpus in parts, under a temporary name until all its arrays are on the disk."""

import io
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ohlol.data.batches import Dataset, Ragged
from ohlol.data.corpus.store import Shard, digest_of_file
from ohlol.data.layout import ArrayLayout
from ohlol.data.mapped import in_memory
from ohlol.utils.files import flush, flush_directory, write_error


class _ArrayFile:
    """An array file to which rows are appended; its header is written last."""

    def __init__(self, path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], open_files: ExitStack):
        self.dtype, self.shape, self.length = dtype, shape, 0
        self.file: BinaryIO = open_files.enter_context(path.open("xb"))
        self.file.write(self._header())

    def append(self, values: NDArray[Any]) -> None:
        self.file.write(np.ascontiguousarray(values, self.dtype).data)
        self.length += len(values)

    def close(self) -> None:
        self.file.seek(0)
        self.file.write(self._header())
        flush(self.file)

    def _header(self) -> bytes:
        """The header, always of the same size: numpy pads it for the largest first axis."""
        header = io.BytesIO()
        fields = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.length, *self.shape)}
        np.lib.format.write_array_header_1_0(header, fields)
        return header.getvalue()


class ShardWriter:
    """Writes a shard in parts; a shard that is not closed when the context ends is removed.

    Args:
        folder: of the corpus.
        name: of the shard.
        layout: of the corpus.
    """

    def __init__(self, folder: Path, name: str, layout: ArrayLayout):
        self.final, self.layout = folder / name, layout
        self.folder = folder / (name + ".tmp")
        self._open_files = ExitStack()
        self._words: dict[bytes, int] = {}
        self.sequences = self.steps = 0

    def __enter__(self) -> "ShardWriter":
        with ExitStack() as on_error:
            on_error.push(self.__exit__)
            try:
                _remove(self.folder)  # left by a process that was killed
                self.folder.mkdir()
                self.arrays = {
                    name: _ArrayFile(self.folder / f"{name}.npy", dtype, shape, self._open_files)
                    for name, (dtype, shape) in self.layout.arrays().items()
                }
                for name in ("offsets", "spelling_offsets"):
                    if name in self.arrays:
                        self.arrays[name].append(np.zeros(1, np.int64))
            except OSError as error:
                raise write_error(self.folder, error) from None
            on_error.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open_files.close()
        if self.folder.exists():
            _remove(self.folder)

    def add(self, data: Dataset) -> None:
        """Append sequences; raises InputError where they cannot be written."""
        before = self.steps
        self.add_steps(in_memory(data.inputs.values))
        self.end_sequences(in_memory(data.inputs.offsets)[1:] + before)
        if data.targets is not None:
            self.add_targets(in_memory(data.targets))
        try:
            if data.word_ids is not None and data.word_chars is not None:
                self._add_words(in_memory(data.word_ids), data.word_chars)
            if data.bigrams is not None:
                self.arrays["bigrams"].append(in_memory(data.bigrams))
            if data.statics is not None:
                self.arrays["statics"].append(in_memory(data.statics))
        except OSError as error:
            raise write_error(self.folder, error) from None

    def add_steps(self, values: NDArray[Any]) -> None:
        """Append to the inputs alone."""
        try:
            self.arrays["inputs"].append(values)
        except OSError as error:
            raise write_error(self.folder, error) from None
        self.steps += len(values)

    def add_targets(self, values: NDArray[Any]) -> None:
        """Append to the targets alone."""
        try:
            self.arrays["targets"].append(values)
        except OSError as error:
            raise write_error(self.folder, error) from None

    def end_sequences(self, ends: NDArray[np.int64]) -> None:
        """Append the ends of sequences, in steps of the shard."""
        try:
            self.arrays["offsets"].append(ends)
        except OSError as error:
            raise write_error(self.folder, error) from None
        self.sequences += len(ends)

    def _add_words(self, word_ids: NDArray[np.int64], word_chars: Ragged) -> None:
        """Append words by their characters; each distinct word is stored once in a shard."""
        values, offsets = in_memory(word_chars.values), in_memory(word_chars.offsets)
        rows = np.empty(len(word_chars), np.int64)
        for row, (start, end) in enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)):
            letters = values[start:end]
            key, count = letters.astype("<u4").tobytes(), len(self._words)
            rows[row] = self._words.setdefault(key, count)
            if len(self._words) > count:
                self.arrays["spellings"].append(letters)
                self.arrays["spelling_offsets"].append(np.array([self.arrays["spellings"].length]))
        self.arrays["forms"].append(rows[word_ids])

    def close(self) -> Shard:
        """Complete the shard and give it its name."""
        try:
            for array in self.arrays.values():
                array.close()
            self._open_files.close()
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
    """Remove a shard, complete or not; a link is removed and not followed."""
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)
