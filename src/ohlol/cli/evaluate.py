"""`ohlol evaluate`: the metrics of a trained model on a file."""

import json
from typing import Annotated, Any

import typer

from ohlol.cli.app import MODELS, Cell, Device, Encoding, Json, Run, app, console
from ohlol.utils.terminal import print_data


@app.command(rich_help_panel=MODELS)
def evaluate(
    run: Run,
    files: Annotated[
        list[str],
        typer.Argument(help="Data in the format of the training data, or an encoded corpus.", metavar="FILE..."),
    ],
    confusions: Annotated[int, typer.Option(help="Rows in the table of the most frequent confusions.", min=0)] = 10,
    as_json: Json = False,
    encoding: Encoding = None,
    cell: Cell = None,
    device: Device = "cpu",
) -> None:
    """Compute the metrics of a model on a file, and the labels it confuses most often."""
    from ohlol.data import sequences
    from ohlol.data.corpus.store import is_corpus
    from ohlol.display.confusions_text import print_confusions
    from ohlol.evaluation.baselines import evaluate_persistence
    from ohlol.inference.trained_model import load
    from ohlol.tasks.metrics import ConfusionMetrics, format_metrics

    model = load(run, device, cell=cell)
    corpus = None if is_corpus(files[0]) else sequences.read(files, model.data_settings(encoding))
    accumulator = model.evaluate(files if corpus is None else corpus)
    pairs = accumulator.confusions(confusions) if isinstance(accumulator, ConfusionMetrics) else []
    extra: dict[str, Any] = {}
    if model.targets.numeric and corpus is not None:
        targets: Any = corpus.targets
        extra["persistence"] = evaluate_persistence(targets)
    if as_json:
        table = [
            {"target": target, "predicted": predicted, "count": count, "share": share}
            for target, predicted, count, share in pairs
        ]
        report = {"metrics": accumulator.metrics(), "confusions": table, **extra}
        print_data(json.dumps(report, ensure_ascii=False, indent=2))
        return
    print(format_metrics(accumulator.metrics()))
    if extra:
        print(f"baseline, repeating the last row: {format_metrics(extra['persistence'])}")
    if pairs:
        print_confusions(pairs, console())
