"""Small data of several tasks, as readers give them."""

import numpy as np

from ohlol.config import DataSettings
from ohlol.data.lines import Place
from ohlol.data.pairs import data_from_pairs
from ohlol.data.raw_data import RawData

PAIRS = [("hello", "ohlol"), ("hole", "oleh")]


def texts(*inputs: str, level: str = "char") -> RawData:
    sequences = [text.split() if level == "word" else text for text in inputs]
    places = [Place("text", i + 1) for i in range(len(inputs))]
    return RawData("next", DataSettings("next", "text", level), list(sequences), None, places)


def numbers(*series: np.ndarray, columns: tuple[str, ...] = ("a", "b")) -> RawData:
    places = [Place(f"part{i}.csv", 1) for i in range(len(series))]
    rows = [np.asarray(s, np.float64) for s in series]
    return RawData("next_row", DataSettings("next_row", "columns"), rows, rows, places, columns, columns)


def classes(rows: list[tuple[str, str]]) -> RawData:
    places = [Place("names.csv", i + 2) for i in range(len(rows))]
    settings = DataSettings("classify", "columns", "char")
    return RawData("classify", settings, [name for name, _ in rows], [kind for _, kind in rows], places)


CORPORA = {
    "label": data_from_pairs(PAIRS),
    "words": data_from_pairs([(["to", "be"], ["P", "V"]), (["or"], ["C"])]),
    "next": texts("abracadabra"),
    "classify": classes([("ada", "x"), ("bob", "y")]),
    "next_row": numbers(np.array([[1.0, 5.0], [2.0, 5.0], [4.0, 5.0]])),
}
