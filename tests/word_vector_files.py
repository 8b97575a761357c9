"""Files of word vectors in every format that is read, written as other programs write them."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

Vectors = Mapping[str, NDArray[np.float32]]


def make_vectors(words: str, size: int = 5, seed: int = 2) -> dict[str, NDArray[np.float32]]:
    """A random vector for each of some words, in their order."""
    random = np.random.default_rng(seed)
    return {word: random.standard_normal(size).astype(np.float32) for word in words.split()}


def write_glove(path: Path, vectors: Vectors) -> Path:
    lines = (" ".join([word, *(f"{x:.9g}" for x in vector)]) for word, vector in vectors.items())
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def write_word2vec_text(path: Path, vectors: Vectors) -> Path:
    """As word2vec and fastText do, with a space at the end of each line."""
    size = len(next(iter(vectors.values())))
    lines = ("".join([word, " ", *(f"{x:.9g} " for x in vector)]) for word, vector in vectors.items())
    path.write_text(f"{len(vectors)} {size}\n" + "".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def write_word2vec_binary(path: Path, vectors: Vectors, end: bytes = b"\n") -> Path:
    """As word2vec does, with a line end after each vector; gensim writes none."""
    size = len(next(iter(vectors.values())))
    rows = (word.encode() + b" " + vector.astype("<f4").tobytes() + end for word, vector in vectors.items())
    path.write_bytes(f"{len(vectors)} {size}\n".encode() + b"".join(rows))
    return path


def write_gensim_binary(path: Path, vectors: Vectors) -> Path:
    return write_word2vec_binary(path, vectors, b"")


def write_safetensors(path: Path, vectors: Vectors) -> Path:
    words = np.frombuffer("\n".join(vectors).encode(), np.uint8)
    save_file({"vectors": np.stack(list(vectors.values())), "words": words}, path)
    return path


WRITERS: dict[str, Callable[[Path, Vectors], Path]] = {
    "glove.6B.5d.txt": write_glove,
    "word2vec.txt": write_word2vec_text,
    "cc.en.5.vec": write_word2vec_text,
    "word2vec.bin": write_word2vec_binary,
    "gensim.bin": write_gensim_binary,
    "vectors.safetensors": write_safetensors,
}
"""What writes a file of each format, by the file's name."""
