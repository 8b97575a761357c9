"""The scores of the classes of an evaluation, as a table for a terminal."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ohlol.tasks.class_report import BINS, ClassReport, Scores
from ohlol.utils.terminal import escape_symbol


def print_class_report(report: ClassReport, console: Console, *, limit: int) -> None:
    """Print the most frequent classes, at most `limit`, the means over all of them and the calibration."""
    table = Table("class", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("precision", "recall", "f1", "support"):
        table.add_column(name, justify="right", no_wrap=True)
    for scores in report.classes[:limit]:
        label = Text(escape_symbol(scores.label))  # not str: [b] in a label is not markup
        table.add_row(label, *_rates(scores), f"{scores.support:,}")
    table.add_section()
    supports = sum(scores.support for scores in report.classes)
    means = {"micro mean": report.micro, "macro mean": report.macro, "weighted mean": report.weighted}
    for name, mean in means.items():
        if mean is None:
            continue
        table.add_row(f"{name} of {len(report.classes):,}", *_rates(mean), f"{supports:,}")
    console.print(table)
    left_out = len(report.classes) - limit
    if left_out > 0:
        console.print(f"not shown: {left_out:,} less frequent class{'es' * (left_out != 1)}")
    error = report.calibration_error
    if error is not None:
        console.print(f"expected calibration error {100 * error:.2f} % ({BINS} bins of confidence)")


def _rates(scores: Scores) -> list[str]:
    return [f"{100 * rate:.2f} %" for rate in (scores.precision, scores.recall, scores.f1)]
