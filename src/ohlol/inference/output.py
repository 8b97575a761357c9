"""Predictions as text: plain, TSV, CoNLL or JSON lines."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ohlol.data.readers import READERS, Reader
from ohlol.inference.prediction import Prediction
from ohlol.inference.trained_model import TrainedModel
from ohlol.utils.errors import InputError
from ohlol.utils.translation import join_list, translate

SPECIAL = re.compile("[\\\\\t\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
"""The backslash, the tab, and every character that some program takes for the end of a line."""
ESCAPE = re.compile(r"\\(?:u([0-9a-f]{4})|(.))", re.DOTALL)
SHORT_ESCAPES = {"\\": "\\", "\t": "t", "\n": "n", "\r": "r"}


def escape_cell(text: str) -> str:
    r"""Text as a cell of a table or a line of its own: the characters in `SPECIAL` are written as escapes.

    >>> escape_cell("a\tb\n"), escape_cell("a\\b"), escape_cell("a\u2028b")
    ('a\\tb\\n', 'a\\\\b', 'a\\u2028b')
    """
    return SPECIAL.sub(lambda match: "\\" + SHORT_ESCAPES.get(match[0], f"u{ord(match[0]):04x}"), text)


def unescape_cell(cell: str) -> str:
    """The reverse of `escape_cell`."""
    characters = {letter: character for character, letter in SHORT_ESCAPES.items()}
    return ESCAPE.sub(lambda match: chr(int(match[1], 16)) if match[1] else characters.get(match[2], match[0]), cell)


SET_SEPARATORS = ("|", ";", ", ", ",")
"""What may separate the labels of a set."""


@dataclass(frozen=True)
class OutputLayout:
    """How the predictions of one model are written in every format."""

    per_sequence: bool
    """Whether a sequence has one label, instead of one at each step."""
    symbol_separator: str
    """Between the symbols of a sequence: none between characters, a space between words."""
    label_separator: str
    """Between the labels of a sequence: none between labels of one character for characters.

    Of a set it is that of the training data, or where these have none, the first of `SET_SEPARATORS` in no label."""
    reader: Reader | None
    """The reader of the files the model was trained on, in whose format text can be written."""
    reads_rows: bool = False
    """Whether the sequences are series of numbers, which are written by their names."""
    is_set: bool = False
    """Whether a sequence has a set of labels."""

    @staticmethod
    def of(model: TrainedModel) -> "OutputLayout":
        """The layout for a model's task, level and labels."""
        by_character = model.config.data.level == "char"
        labels = model.codec.labels.symbols if model.codec.labels is not None else ()
        separator = "" if by_character and labels and max(map(len, labels)) == 1 else " "
        if model.targets.multiple:
            separator = model.config.data.label_separator or next(
                (mark for mark in SET_SEPARATORS if not any(mark in label for label in labels)), SET_SEPARATORS[0]
            )
        return OutputLayout(
            per_sequence=model.targets.per_sequence,
            symbol_separator="" if by_character else " ",
            label_separator=separator,
            reads_rows=model.targets.rows,
            is_set=model.targets.multiple,
            reader=READERS.get(model.config.data.format or ""),
        )

    def text(self, prediction: Prediction) -> str:
        """The symbols of a sequence, or the name of a series."""
        return prediction.name if self.reads_rows else self.symbol_separator.join(prediction.symbols)

    def labels(self, prediction: Prediction) -> str:
        """The labels of a sequence."""
        return self.label_separator.join(prediction.labels)


def format_plain(prediction: Prediction, layout: OutputLayout) -> str:
    """The labels or the number alone, or the sequence in the format of training where that shows labels; one line."""
    if prediction.number is not None:
        return format_quantity(prediction.number)
    rendered = None if layout.reader is None else layout.reader.render(prediction.symbols, prediction.labels)
    return escape_cell(layout.labels(prediction) if rendered is None else rendered)


def format_tsv(prediction: Prediction, layout: OutputLayout) -> str:
    """Input and labels or number as columns; where a sequence has one label, or a set, the n best and probabilities."""
    labels = [layout.labels(prediction)]
    if prediction.number is not None:
        labels = [format_quantity(prediction.number)]
    elif layout.per_sequence:
        labels = labels * layout.is_set + _with_probabilities(prediction.best[0])
    columns = [layout.text(prediction), *labels]
    return "\t".join(map(escape_cell, columns))


def format_conll(prediction: Prediction, layout: OutputLayout) -> str:
    """One line for each step: the symbol, its label and the next best ones of the step, with their probabilities."""
    del layout
    rows: list[str] = []
    for symbol, label, p, best in zip(
        prediction.symbols, prediction.labels, prediction.probability, prediction.best, strict=True
    ):
        names = [name for name, _ in best]
        left_out = names.index(label) if label in names else len(best) - 1
        others = best[:left_out] + best[left_out + 1 :]
        rows.append("\t".join(map(escape_cell, [symbol, *_with_probabilities([(label, p), *others])])))
    return "\n".join(rows) + "\n"


def format_jsonl(prediction: Prediction, layout: OutputLayout) -> str:
    """All of a prediction as JSON."""
    record: dict[str, object] = {"series": prediction.name}
    if not layout.reads_rows:
        text = layout.text(prediction) if layout.symbol_separator == "" else list(prediction.symbols)
        record = {"input": text}
    if prediction.number is not None:
        record["number"] = prediction.number
    elif layout.is_set:
        record |= {"labels": prediction.labels, "probability": prediction.probability, "best": prediction.best[0]}
    elif layout.per_sequence:
        record |= {"label": prediction.labels[0], "probability": prediction.probability[0]}
        record["best"] = prediction.best[0]
    else:
        record |= {"labels": prediction.labels, "probability": prediction.probability, "best": prediction.best}
        if prediction.sequences:
            record["sequences"] = prediction.sequences
    if prediction.unknown:
        record["unknown"] = prediction.unknown
    return json.dumps(record, ensure_ascii=False)


def format_quantity(number: float) -> str:
    """A number as plain text and tables show it."""
    return f"{number:.6g}"


def _with_probabilities(best: Sequence[tuple[str, float]]) -> list[str]:
    """Labels, each with its probability as the next column."""
    return [column for label, p in best for column in (label, f"{p:.4f}")]


@dataclass(frozen=True)
class OutputFormat:
    """A format in which predictions are written."""

    write: Callable[[Prediction, OutputLayout], str]
    """The text of a prediction, without the last line end."""
    suffix: str
    """The suffix of files in this format."""
    needs_steps: bool = False
    """Whether it has a line for each step, so that a label of a whole sequence does not fit."""


FORMATS = {
    "plain": OutputFormat(format_plain, ".txt"),
    "tsv": OutputFormat(format_tsv, ".tsv"),
    "conll": OutputFormat(format_conll, ".conll", needs_steps=True),
    "jsonl": OutputFormat(format_jsonl, ".jsonl"),
}
"""The output formats by name."""


def make_writer(model: TrainedModel, output_format: str) -> Callable[[Prediction], str]:
    """A function that formats the predictions of a model, without the last line end.

    Args:
        model: the model, whose task and level determine the layout.
        output_format: a key of `FORMATS`.

    Raises:
        InputError: there is no such format, or it does not fit the task.
    """
    if output_format not in FORMATS:
        raise InputError(
            "`output_format` is {output_format!r}; it must be one of {formats}",
            output_format=output_format,
            formats=join_list(FORMATS),
        )
    form, layout = FORMATS[output_format], OutputLayout.of(model)
    if form.needs_steps and layout.per_sequence:
        what = (
            translate("one label")
            if model.targets.has_one_label
            else translate("a set of labels")
            if layout.is_set
            else translate("one number")
        )
        raise InputError(
            "`output_format` is {output_format}, which has a line for each step; the task {task} has {what} "
            "for each sequence",
            output_format=output_format,
            task=model.task,
            what=what,
        )
    return lambda prediction: form.write(prediction, layout)
