"""Data files of every format, and ways to damage them."""

import json
import random
from collections.abc import Callable
from pathlib import Path

from helpers import conll_file, names_file, sine_file, text_file, upper_pairs

from ohlol.config import DataSettings
from ohlol.data import sequences
from ohlol.utils.errors import InputError


def json_pairs(path: Path) -> Path:
    rows = [{"input": ["the", "cat"], "target": ["DET", "NOUN"]}, {"input": ["a"], "target": ["DET"]}] * 4
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def json_table(path: Path) -> Path:
    rows = [{"name": f"word{i}", "kind": "ab"[i % 2], "size": i} for i in range(8)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def conllu(path: Path) -> Path:
    row = "{}\t{}\t_\t{}\t_\t_\t0\troot\t_\t_\n"
    sentence = (
        "# text = a b\n" + row.format(1, "a", "DET") + row.format("1-2", "ab", "_") + row.format(2, "b", "X") + "\n"
    )
    path.write_text(sentence * 3, encoding="utf-8")
    return path


def segmented(path: Path) -> Path:
    path.write_text("我们 在 学校 学习\n中文 很 好\n" * 3, encoding="utf-8")
    return path


def parquet(path: Path) -> Path:
    import pyarrow
    import pyarrow.parquet

    columns = {"name": [f"n{i}" for i in range(20)], "kind": ["a", "b"] * 10, "size": [float(i) for i in range(20)]}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def arrow_file(path: Path) -> Path:
    import pyarrow

    kinds = pyarrow.array(["a", "b"] * 10).dictionary_encode()
    columns = {"name": [f"n{i}" for i in range(20)], "kind": kinds, "size": [float(i) for i in range(20)]}
    table = pyarrow.table(columns)
    options = pyarrow.ipc.IpcWriteOptions(compression="zstd")
    with pyarrow.OSFile(str(path), "wb") as file, pyarrow.ipc.new_file(file, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=7)
    return path


FORMATS: dict[str, tuple[Callable[[Path], Path], str, DataSettings]] = {
    "pairs": (upper_pairs, "pairs.tsv", DataSettings()),
    "JSON pairs": (json_pairs, "pairs.jsonl", DataSettings()),
    "conll": (conll_file, "spans.conll", DataSettings()),
    "conllu": (conllu, "tags.conllu", DataSettings()),
    "segment": (segmented, "words.txt", DataSettings(format="segment")),
    "text": (lambda path: text_file(path, 200), "text.txt", DataSettings()),
    "words": (lambda path: text_file(path, 200), "text.txt", DataSettings(level="word")),
    "classes": (names_file, "names.csv", DataSettings(task="classify", input="name", target="kind")),
    "JSON classes": (json_table, "names.jsonl", DataSettings(task="classify", input="name", target="kind")),
    "series": (lambda path: sine_file(path, 12), "sine.csv", DataSettings(task="next_row")),
    "Parquet classes": (parquet, "names.parquet", DataSettings(task="classify", input="name", target="kind")),
    "Parquet series": (parquet, "sizes.parquet", DataSettings(task="next_row", input="size")),
    "Arrow classes": (arrow_file, "names.arrow", DataSettings(task="classify", input="name", target="kind")),
    "Arrow series": (arrow_file, "sizes.feather", DataSettings(task="next_row", input="size")),
    "inferred": (json_table, "anything", DataSettings()),
}

PIECES = (
    b"\0",
    b"\xff\xfe",
    b"\xed\xa0\x80",  # half a surrogate pair
    b"\xef\xbb\xbf",
    b"\r",
    b"\n\n",
    b"\t",
    b'"',
    b",",
    b"[" * 2000,
    b'{"a":' * 500,
    b'"\\ud800"',
    b"NaN",
    b"1e999",
    b"9" * 5000,
    b"-Infinity",
    b"\xe2\x80\xa8",
    b"# global.columns = A A A\n",
    b"\x1b[2J",
    b"x" * 70_000,
)
"""Bytes that are inserted into files, beside random ones."""


def damage(raw: bytes, rng: random.Random) -> bytes:
    """A file changed in one to four places."""
    changed = bytearray(raw)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(changed) + 1)
        match rng.randrange(7):
            case 0:
                changed[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                changed[at:at] = rng.choice(PIECES)
            case 2:
                del changed[at : at + rng.randint(1, 40)]
            case 3:
                changed[at:at] = rng.randbytes(rng.randint(1, 30))
            case 4:
                other = rng.randrange(len(changed) + 1)
                changed[at:at] = changed[other : other + rng.randint(1, 60)]
            case 5:
                del changed[at:]
            case _:
                changed[at : at + len(changed) // 4] = rng.randbytes(len(changed) // 4)
    return bytes(changed)


def try_to_read(path: Path, settings: DataSettings) -> bool:
    """Whether a file could be read; anything but success and one short line on it is an error."""
    try:
        corpus = sequences.read(path, settings)
        assert len(corpus.inputs) == len(corpus.places) > 0
        assert all(len(sequence) for sequence in corpus.inputs)
        if corpus.task == "label":
            assert corpus.targets is not None
            assert [len(s) for s in corpus.inputs] == [len(t) for t in corpus.targets]
        return True
    except InputError as error:
        said = str(error)
        assert path.name in said, said
        assert "\n" not in said
        assert len(said) < 1000, said[:2000]
        assert said.isprintable(), said
        return False
