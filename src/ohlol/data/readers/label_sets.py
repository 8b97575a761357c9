"""Sets of labels: the cells of a table that hold them, and what separates them in a text."""

import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ohlol.data.lines import FRAME, error_at, nfc, quote
from ohlol.data.readers.json_lines import is_strings
from ohlol.data.readers.tables import Row, is_empty, number
from ohlol.utils.errors import InputError, InputWarning
from ohlol.utils.translation import translate

SEPARATORS = ("|", ";", ",")
"""What is taken for the separator where it is the only one of these in a column."""


def find_separators(cells: Sequence[str]) -> list[str]:
    """Of the separators that occur in some cells, those that split them into labels that repeat.

    >>> find_separators(["red|blue", "blue", "red|green"]), find_separators(["Oslo, Norway", "Bern, Switzerland"])
    (['|'], [])
    """
    return [mark for mark in SEPARATORS if _repeats(cells, mark)]


def _repeats(cells: Sequence[str], mark: str) -> bool:
    """Whether a label is in several different cells, of which one has several labels."""
    sets = [set(split_labels(cell, mark)) for cell in dict.fromkeys(cells)]
    counts = Counter(label for labels in sets for label in labels)
    return any(len(labels) > 1 and any(counts[label] > 1 for label in labels) for labels in sets)


def split_labels(cell: str, separator: str) -> list[str]:
    """The labels of a cell, each once; white space around them and empty ones are left out.

    >>> split_labels("red| blue|red|", "|")
    ['red', 'blue']
    """
    parts = (nfc(part).strip() for part in cell.split(separator.strip() or separator))
    return list(dict.fromkeys(part for part in parts if part))


def infer_separator(file: str, name: str, rows: Sequence[Row], column: int) -> str | None:
    """What separates the labels in a column; None where all of its cells are lists.

    Raises:
        InputError: none or several of `SEPARATORS` may do so, or the cells are lists in the form of Python.
    """
    texts = [row for row in rows if isinstance(row.cells[column], str) and row.cells[column].strip()]
    empty = sum(is_empty(row.cells[column]) for row in rows)
    if empty:
        warnings.warn(
            translate(
                "{file}: column {name} is empty in {empty:,} of {count:,} rows, which are read as sets without a label",
                file=file,
                name=quote(name),
                empty=empty,
                count=len(rows),
            ),
            InputWarning,
            2,
        )
    if not texts:
        return None
    cells = [row.cells[column] for row in texts]
    listed = next((row for row in texts if is_list_as_text(row.cells[column])), None)
    if listed is not None:
        raise error_at(
            listed.place,
            translate(
                "column {name} holds {cells}, a list as Python prints it; write the table as JSON lines or "
                "Parquet, or join the labels, as in a|b",
                name=quote(name),
                cells=quote(listed.cells[column]),
            ),
        )
    found = find_separators(cells)
    if len(found) == 1 and not any(mark in cell for mark in SEPARATORS if mark != found[0] for cell in cells):
        is_spaced = all(cell.count(",") == cell.count(", ") for cell in cells)
        return ", " if found[0] == "," and is_spaced else found[0]
    occurring = [mark for mark in SEPARATORS if any(mark in cell for cell in cells)]
    seen = (
        translate("{occurring} may separate its labels", occurring=" and ".join(map(repr, occurring)))
        if occurring
        else translate("no cell has several labels")
    )
    example = next((cell for cell in cells if any(mark in cell for mark in occurring)), cells[0])
    raise InputError(
        "{file}: column {name}: {seen}, such as {example}; say what separates them with `label_separator`{otherwise}",
        file=file,
        name=quote(name),
        seen=seen,
        example=quote(example),
        otherwise="" if occurring else translate(", or choose `task` classify for one label each"),
    )


def is_list_as_text(cell: str) -> bool:
    """Whether a text is a list of labels as Python or JSON writes it."""
    text = cell.strip()
    return text[:1] in "[{(" and text[-1:] in "]})"


def read_set(row: Row, names: tuple[str, ...], columns: Sequence[int], separator: str | None) -> list[str]:
    """The labels of a row: of one column, or the names of those columns that hold 1 where several hold 0 or 1.

    Raises:
        InputError: a cell holds something else.
    """
    if len(columns) > 1:
        return [nfc(names[column]) for column in columns if _is_member(row, names, column)]
    cell: Any = row.cells[columns[0]]
    if is_empty(cell):
        return []
    if isinstance(cell, str) and separator:
        return split_labels(cell, separator)
    if is_strings(cell) and not any(is_empty(label) for label in cell):
        return list(dict.fromkeys(nfc(label).strip() for label in cell))
    expected = translate("labels joined by a separator") if separator else translate("a list of labels")
    raise error_at(
        row.place,
        translate(
            "column {names} holds {cell}, and must hold {expected}",
            names=quote(names[columns[0]]),
            cell=quote(cell),
            expected=expected,
        ),
    )


def _is_member(row: Row, names: tuple[str, ...], column: int) -> bool:
    cell: Any = row.cells[column]
    value = float(cell) if isinstance(cell, bool) else number(cell)
    if value not in (0.0, 1.0):
        problem = translate("is empty") if is_empty(cell) else translate("is {cell}", cell=quote(cell))
        raise error_at(
            row.place,
            translate(
                "column {names} {problem}; where `target` names several columns, each is for a label and holds 0 or 1",
                names=quote(names[column]),
                problem=problem,
            ),
        )
    return value == 1.0


def check_steps(file: str, rows: Sequence[Row], source: int, target: int, names: tuple[str, ...]) -> None:
    """Ask where lists of labels are as long as those of the input, one label for each step; raises InputError."""
    pairs = [(row.cells[source], row.cells[target]) for row in rows]
    are_lists = bool(pairs) and all(isinstance(cell, list) for pair in pairs for cell in pair)
    if are_lists and all(len(words) == len(labels) for words, labels in pairs):
        reads = "" if file == FRAME else translate(", which reads JSON lines")
        raise InputError(
            "{file}: the lists of {input} and {target} are equally long in every row; for a label of each "
            "word choose `task` label{reads}, for a set `task` multilabel",
            file=file,
            input=quote(names[source]),
            target=quote(names[target]),
            reads=reads,
        )


def check_one_label(file: str, name: str, cells: Sequence[str]) -> None:
    """Ask where classes may be sets of labels with a separator; raises InputError."""
    found = find_separators(cells)
    if found:
        example = next(cell for cell in cells if found[0] in cell)
        raise InputError(
            "{file}: the target {name} holds values such as {example}, whose parts between {found!r} are in "
            "others too; for sets of labels, choose `task` multilabel; where each is one class, `task` "
            "classify",
            file=file,
            name=quote(name),
            example=quote(example),
            found=found[0],
        )
