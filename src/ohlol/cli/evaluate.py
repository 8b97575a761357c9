"""`ohlol evaluate`: the metrics of a trained model on a file."""

import json
import sys
import warnings
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ohlol.cli.app import MODELS, Cell, Device, Encoding, Json, Precision, Run, app, console, one_of
from ohlol.config import DYNAMIC_OPTIMIZERS, FULL_PRECISION, DynamicSettings
from ohlol.utils.errors import InputError, InputWarning
from ohlol.utils.terminal import print_data, print_message
from ohlol.utils.translation import choose_language, message_id, translate

if TYPE_CHECKING:
    from ohlol.tasks.metrics import ConfusionMetrics


BASELINES = {
    "persistence": message_id("repeating the last row"),
    "mean": message_id("always the mean of the training data"),
}
"""What the predictions are compared with, by its key in the JSON."""


@app.command(rich_help_panel=MODELS)
def evaluate(
    run: Run,
    files: Annotated[
        list[str],
        typer.Argument(help="Data in the format of the training data, or an encoded corpus.", metavar="FILE..."),
    ],
    classes: Annotated[
        int, typer.Option(help="Rows in the table of the classes, the most frequent first.", min=0)
    ] = 10,
    confusions: Annotated[int, typer.Option(help="Rows in the table of the most frequent confusions.", min=0)] = 10,
    png: Annotated[
        Path | None,
        typer.Option(help="Draw the confusions to this .png, .svg or .pdf file; needs matplotlib."),
    ] = None,
    dynamic: Annotated[
        bool,
        typer.Option("--dynamic", help="Also evaluate a copy of a language model that learns from the text it reads."),
    ] = False,
    dynamic_optimizer: Annotated[str | None, typer.Option(help=f"How it learns: {one_of(DYNAMIC_OPTIMIZERS)}.")] = None,
    dynamic_lr: Annotated[float | None, typer.Option(help="Its learning rate.")] = None,
    dynamic_decay: Annotated[
        float | None, typer.Option(help="Share of the way back to the weights of the run after each segment.")
    ] = None,
    dynamic_steps: Annotated[int | None, typer.Option(help="Time steps of a segment.")] = None,
    as_json: Json = False,
    encoding: Encoding = None,
    cell: Cell = None,
    device: Device = "cpu",
    precision: Precision = FULL_PRECISION,
) -> None:
    """Compute the metrics of a model on a file, the scores of each class, and the labels it confuses most often."""
    parameters = dict(locals())
    from ohlol.checkpoint.run_directory import trained_on
    from ohlol.data.corpus.store import is_corpus
    from ohlol.data.sequences import read
    from ohlol.display.class_report_text import print_class_report
    from ohlol.display.confusions_text import print_confusions
    from ohlol.evaluation.baselines import evaluate_persistence
    from ohlol.inference.trained_model import load
    from ohlol.tasks.metrics import ConfusionMetrics, ReportMetrics, format_metrics
    from ohlol.tasks.regress import RegressMetrics

    chosen = {f.name: parameters[f.name] for f in fields(DynamicSettings) if parameters[f.name] is not None}
    if chosen and not dynamic:
        raise InputError("`{chosen}` is a setting of `dynamic`, which is not given", chosen=next(iter(chosen)))
    adapts = DynamicSettings(**chosen)
    model = load(run, device, cell=cell, precision=precision)
    corpus = None if is_corpus(files[0]) else read(files, model.data_settings(encoding))
    accumulator = model.evaluate(files if corpus is None else corpus)
    adapted = model.evaluate_dynamic(files if corpus is None else corpus, adapts).metrics() if dynamic else None
    confused = accumulator if isinstance(accumulator, ConfusionMetrics) else None
    pairs = confused.confusions(confusions) if confused is not None else []
    class_report = accumulator.report() if isinstance(accumulator, ReportMetrics) else None
    if png is not None:
        _draw(confused, png, model.task)
    for file in trained_on(run, files):
        warnings.warn(
            translate(
                "{file}: {run} was trained on a file with this content; its figures say little about new data",
                file=file,
                run=run,
            ),
            InputWarning,
            2,
        )
    extra: dict[str, Any] = {}
    if isinstance(accumulator, RegressMetrics):
        extra["mean"] = accumulator.baseline()
    if model.targets.numeric and model.targets.shifted and corpus is not None:
        targets: Any = corpus.targets
        extra["persistence"] = evaluate_persistence(targets)
    if as_json:
        table = [
            {"target": target, "predicted": predicted, "count": count, "share": share}
            for target, predicted, count, share in pairs
        ]
        report = {"metrics": accumulator.metrics(), "confusions": table, **extra}
        if adapted is not None:
            report["dynamic"] = {**asdict(adapts), "dynamic_lr": adapts.lr, "metrics": adapted}
        if class_report is not None:
            report["report"] = class_report.to_json()
        print_data(json.dumps(report, ensure_ascii=False, indent=2))
        return
    if model.targets.horizon:
        print_message(
            translate(
                "the error of each series is divided by that of repeating its last season; `ohlol backtest` "
                "measures in the units of the data"
            ),
            sys.stderr,
        )
    print(format_metrics(accumulator.metrics()))
    if adapted is not None:
        print(translate("dynamic evaluation ({adapts}): {adapted}", adapts=adapts, adapted=format_metrics(adapted)))
    for name, baseline in extra.items():
        print(
            translate("baseline, {name}: {metrics}", name=translate(BASELINES[name]), metrics=format_metrics(baseline))
        )
    if class_report is not None and classes:
        print_class_report(class_report, console(), limit=classes)
    if pairs:
        print_confusions(pairs, console())


def _draw(confused: "ConfusionMetrics | None", png: Path, task: str) -> None:
    """Draw the confusions to a file; raises InputError where the task has no classes."""
    from ohlol.display import figures

    if confused is None:
        raise InputError("`png` draws the confusions of classes, and the task {task} has none", task=task)
    language = choose_language()
    figures.save_figure(figures.draw_confusions(confused.labels, confused.matrix, lang=language), png)
    print_message(translate("written: {path}", path=png), sys.stderr)
