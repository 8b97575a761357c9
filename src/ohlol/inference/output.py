"""Predictions become lines of text: plain, TSV, CoNLL or JSONL; knows nothing of how they were made."""

import json
from collections.abc import Callable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from ohlol.data.readers.base import READERS
from ohlol.inference.trained_model import Prediction, TrainedModel
from ohlol.utils.errors import InputError

FORMATS = ("plain", "tsv", "conll", "jsonl")


def writer(model: TrainedModel, kind: str) -> Callable[[Prediction], str]:
    """The function that writes a prediction, without a last line end.

    Args:
        model: whose predictions they are: the format follows its task and what its symbols are.
        kind: "plain" (labels alone), "tsv" (input and labels), "conll" (a line a step) or "jsonl" (everything).

    Raises:
        InputError: there is no such format, or it does not fit the task.
    """
    if kind not in FORMATS:
        raise InputError(f"`output_format` is {kind!r}; it must be one of {', '.join(FORMATS)}")
    if kind == "conll" and model.targets.per_sequence:
        raise InputError(
            f"`output_format` conll has a line for each step; the task {model.task} has one label a sequence"
        )
    whole = model.targets.per_sequence
    glue = "" if model.config.data.level == "char" else " "
    reader = READERS.get(model.config.data.format or "")
    short = model.codec.labels is not None and max(map(len, model.codec.labels.symbols)) == 1
    label_glue = "" if short and glue == "" else " "

    def text(prediction: Prediction) -> str:
        return glue.join(prediction.symbols)

    def labels(prediction: Prediction) -> str:
        return prediction.labels[0] if whole else label_glue.join(prediction.labels)

    def plain(prediction: Prediction) -> str:
        text = reader.render(prediction.symbols, prediction.labels) if reader is not None else None
        return labels(prediction) if text is None else text

    def tsv(prediction: Prediction) -> str:
        cells = [text(prediction), labels(prediction)]
        if whole:
            cells = [cells[0]] + [cell for label, p in prediction.best[0] for cell in (label, f"{p:.4f}")]
        return "\t".join(cell.replace("\t", " ").replace("\n", " ") for cell in cells)

    def conll(prediction: Prediction) -> str:
        rows = [
            "\t".join([symbol, *(cell for label, p in best for cell in (label, f"{p:.4f}"))])
            for symbol, best in zip(prediction.symbols, prediction.best, strict=True)
        ]
        return "\n".join(rows) + "\n"

    def jsonl(prediction: Prediction) -> str:
        record: dict[str, object] = {"input": text(prediction) if glue == "" else list(prediction.symbols)}
        if whole:
            record |= {"label": prediction.labels[0], "probability": prediction.probability[0]}
            record["best"] = prediction.best[0]
        else:
            record |= {"labels": prediction.labels, "probability": prediction.probability, "best": prediction.best}
        if prediction.unknown:
            record["unknown"] = prediction.unknown
        return json.dumps(record, ensure_ascii=False)

    return {"plain": plain, "tsv": tsv, "conll": conll, "jsonl": jsonl}[kind]


def print_mistakes(pairs: Sequence[tuple[str, str, int, float]], console: Console) -> None:
    """The commonest mistakes as a table: wanted label, chosen label, how often, share of the wanted label's steps."""
    table = Table("wanted", "chosen", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("times", justify="right")
    table.add_column("of the wanted", justify="right")
    for wanted, chosen, times, share in pairs:
        table.add_row(repr(wanted)[1:-1], repr(chosen)[1:-1], str(times), f"{100 * share:.1f} %")
    console.print(table)
