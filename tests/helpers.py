"""Small data, settings and a callback that several test files share."""

import itertools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ohlol.training.callbacks import Callback, Epoch
from ohlol.training.trainer import Trainer

TINY: dict[str, Any] = {"hidden_size": 6, "num_layers": 1, "embedding_size": 5, "epochs": 3, "batch_size": 4}
"""Settings of a model that trains in less than a second."""
TINY_FLAGS = ["--hidden-size", "6", "--num-layers", "1", "--embedding-size", "5", "--epochs", "3", "--batch-size", "4"]
"""The same settings as options of the command line."""
BIOES_LABELS = ("O", "B-PER", "I-PER", "E-PER", "S-PER", "B-LOC", "I-LOC", "E-LOC", "S-LOC")
LOOP = " in a loop"
CELLS = ("rnn", "gru", "lstm", "rnn in a loop", "gru in a loop", "lstm in a loop")
"""Names of cells, each as a layer and in a loop; `cell_settings` returns the settings of a name."""


def pairs_of(*axes: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Few rows of one value of each axis, in which any two values of two axes occur together.

    For options of which a fault needs one or two: 3 x 5 x 2 x 2 x 2 x 2 of them are 240 rows, and 16 have all pairs.
    """
    places = list(itertools.combinations(range(len(axes)), 2))
    left = {(i, a, j, b) for i, j in places for a in range(len(axes[i])) for b in range(len(axes[j]))}
    rows = list(itertools.product(*(range(len(axis)) for axis in axes)))
    chosen: list[tuple[Any, ...]] = []
    while left:
        best = max(rows, key=lambda row: sum((i, row[i], j, row[j]) in left for i, j in places))
        left -= {(i, best[i], j, best[j]) for i, j in places}
        chosen.append(tuple(axis[at] for axis, at in zip(axes, best, strict=True)))
    return chosen


def cell_settings(name: str) -> dict[str, Any]:
    """The settings `cell` and `loop` of a name in `CELLS`."""
    return {"cell": name.removesuffix(LOOP), "loop": name.endswith(LOOP)}


class Recorder(Callback):
    """Records every epoch and learning rate, and calls a function after each step."""

    def __init__(self, after: Callable[["Recorder", int], None] | None = None):
        self.epochs: list[Epoch] = []
        self.trainer: Trainer | None = None
        self.rates: list[float] = []
        self.after = after
        self.steps = 0

    def on_train_begin(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def on_batch_end(self, epoch: int, done: int, total: int, loss: float, symbols: int) -> None:
        assert self.trainer is not None
        self.steps += 1
        self.rates.append(self.trainer.optimizer.param_groups[0]["lr"])
        if self.after is not None:
            self.after(self, self.steps)

    def on_epoch_end(self, epoch: Epoch) -> None:
        self.epochs.append(epoch)


def upper_pairs(path: Path, lines: int = 24, seed: int = 3) -> Path:
    """Pairs of a text and its labels: the upper case of each character, with E replaced by "_"."""
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(lines):
        text = "".join(random.choice(list("abcde"), size=random.integers(2, 7)))
        rows.append(f"{text}\t{text.upper().replace('E', '_')}")
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def text_file(path: Path, symbols: int = 400) -> Path:
    """A text that repeats one line, so that a small model learns it."""
    path.write_text(("the cat sat on the mat\n" * (symbols // 20))[:symbols], encoding="utf-8")
    return path


def names_file(path: Path, rows: int = 30) -> Path:
    """A table of names and classes: names that end in "a" are in one class, those that end in "o" in the other."""
    random = np.random.default_rng(5)
    lines = ["name,kind"]
    for i in range(rows):
        stem = "".join(random.choice(list("bdlmn"), size=random.integers(2, 5)))
        lines.append(f"{stem}{'ao'[i % 2]},{('first', 'second')[i % 2]}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def lengths_file(path: Path, rows: int = 30) -> Path:
    """A table of words and a number for each: ten times its length, and 5 more where it ends in "a"."""
    random = np.random.default_rng(6)
    lines = ["name,size"]
    for _ in range(rows):
        name = "".join(random.choice(list("abdlmn"), size=random.integers(2, 8)))
        lines.append(f"{name},{10 * len(name) + 5 * name.endswith('a')}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def sets_file(path: Path, rows: int = 30) -> Path:
    """A table of words and the set of those of the letters a, b and d that they hold, which may be empty."""
    random = np.random.default_rng(8)
    lines: list[str] = []
    for _ in range(rows):
        name = "".join(random.choice(list("abdlmno"), size=random.integers(2, 6)))
        lines.append(json.dumps({"name": name, "letters": [letter for letter in "abd" if letter in name]}))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def sine_file(path: Path, rows: int = 240, period: float = 12.0) -> Path:
    """A series of two columns, a sine and a cosine of different amplitudes."""
    lines = ["height,slope"]
    for t in range(rows):
        angle = 2 * math.pi * t / period
        lines.append(f"{50 + 20 * math.sin(angle):.6f},{3 * math.cos(angle):.6f}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def sales_file(path: Path, months: int = 60) -> Path:
    """Monthly sales of two shops with a season of a year, and the price of each month, which is known beforehand."""
    random = np.random.default_rng(8)
    lines = ["shop,month,price,sales"]
    for shop, level in (("north", 100), ("south", 300)):
        for t in range(months):
            price = 5 + t % 3
            sales = level + t + 30 * math.sin(2 * math.pi * t / 12) - 4 * price + random.normal()
            lines.append(f"{shop},{2015 + t // 12}-{t % 12 + 1:02d},{price},{sales:.3f}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


SALES: dict[str, Any] = {"series": "shop", "target": "sales", "known": "price", "horizon": 4}
"""The settings of the data of `sales_file`."""
SALES_NEXT = "\n".join(
    [
        "shop,month,price",
        *(f"{shop},2020-{month:02d},{5 + (month - 1) % 3}" for shop in ("north", "south") for month in range(1, 7)),
    ]
)
"""A table of the prices of the six months that follow the data of `sales_file`."""


def conll_file(path: Path, sentences: int = 24) -> Path:
    """Sentences with labels of persons and places in the BIO scheme."""
    people, places, rest = ["Ada", "Bob", "Cleo"], ["Rome", "Oslo"], ["sees", "in", "likes", "old"]
    random = np.random.default_rng(7)
    blocks = []
    for _ in range(sentences):
        words = [(str(random.choice(people)), "B-PER"), (str(random.choice(rest)), "O")]
        words += [("New", "B-LOC"), (str(random.choice(places)), "I-LOC")] if random.random() < 0.5 else []
        words += [(str(random.choice(rest)), "O") for _ in range(random.integers(0, 3))]
        blocks.append("\n".join(f"{word}\t{label}" for word, label in words))
    path.write_text("\n\n".join(blocks) + "\n\n", encoding="utf-8")
    return path


def bytes_of(run: Path) -> dict[str, bytes]:
    """Every file under a directory, by its path."""
    return {str(p.relative_to(run)): p.read_bytes() for p in sorted(run.rglob("*")) if p.is_file()}


TASKS: dict[str, tuple[Callable[[Path], Path], str, dict[str, Any]]] = {
    "label": (upper_pairs, "data.tsv", {"cell": "gru", "dropout": 0.3, "embedding_dropout": 0.2, "num_layers": 2}),
    "next": (text_file, "data.txt", {"cell": "lstm", "bptt": 7, "dropout": 0.1}),
    "classify": (names_file, "data.csv", {"input": "name", "target": "kind", "dropout": 0.2}),
    "regress": (lengths_file, "data.csv", {"task": "regress", "input": "name", "target": "size", "dropout": 0.2}),
    "multilabel": (
        sets_file,
        "data.jsonl",
        {"task": "multilabel", "input": "name", "target": "letters", "dropout": 0.2},
    ),
    "next_row": (sine_file, "data.csv", {"task": "next_row", "bptt": 9, "lr_schedule": "onecycle", "batch_size": 5}),
    "forecast": (sales_file, "data.csv", {**SALES, "cell": "gru", "dropout": 0.2, "bptt": 9, "num_layers": 2}),
    "spans": (conll_file, "data.conll", {"dropout": 0.2, "char_rnn_size": 3}),
    "loop": (upper_pairs, "data.tsv", {"cell": "lstm", "loop": True, "lr_schedule": "plateau", "optimizer": "sgd"}),
}
"""What writes the data, the name of the file, and settings, for each task, for labels of spans and a cell in a loop."""


def prepared(kind: str, folder: Path) -> tuple[Path, dict[str, Any]]:
    """Write the data of a key of `TASKS`; their path, and settings to train on them."""
    write, name, settings = TASKS[kind]
    return write(folder / name), {**TINY, **settings}


def moves_file(path: Path, count: int = 30, *, quantity: bool = False) -> Path:
    """A table of series of two columns of unequal lengths, which rise or fall, with this as class or the slope."""
    random = np.random.default_rng(6)
    lines = ["id,t,x,y,move"]
    for i in range(count):
        slope = float(random.uniform(0.2, 1)) * (-1) ** i
        target = f"{slope:.3f}" if quantity else ("up", "down")[i % 2]
        for t in range(int(random.integers(4, 9))):
            x, y = slope * t + 20, random.normal() + 5
            lines.append(f"move{i},{t},{x:.3f},{y:.3f},{target}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


MOVES = {"series": "id", "time": "t", "target": "move"}
"""The columns of `moves_file`."""


def ts_file(path: Path, count: int = 30) -> Path:
    """The series of `moves_file` as a `.ts` file."""
    rows = [line.split(",") for line in moves_file(path).read_text(encoding="utf-8").splitlines()[1:]]
    lines = ["@problemName Moves", "@timeStamps false", "@dimensions 2", "@classLabel true up down", "@data"]
    for i in range(count):
        own = [row for row in rows if row[0] == f"move{i}"]
        columns = (",".join(row[column] for row in own) for column in (2, 3))
        lines.append(":".join([*columns, own[0][4]]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
