"""The scores of the classes of an evaluation, as a table for a terminal."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ohlol.tasks.class_report import BINS, ClassReport, Scores
from ohlol.utils.rendering import to_text
from ohlol.utils.terminal import capture, escape_symbol
from ohlol.utils.translation import message_id, translate


def print_class_report(report: ClassReport, console: Console, *, limit: int) -> None:
    """Print the most frequent classes, at most `limit`, the means over all of them and the calibration."""
    table = Table(translate("class"), box=box.SIMPLE_HEAD, pad_edge=False)
    for name in (message_id("precision"), message_id("recall"), "f1", message_id("support")):
        table.add_column(translate(name), justify="right", no_wrap=True)
    for scores in report.classes[:limit]:
        label = Text(escape_symbol(scores.label))  # not str: [b] in a label is not markup
        table.add_row(label, *_rates(scores), f"{scores.support:,}")
    table.add_section()
    supports = sum(scores.support for scores in report.classes)
    means = {
        message_id("micro mean of {count:,}"): report.micro,
        message_id("macro mean of {count:,}"): report.macro,
        message_id("weighted mean of {count:,}"): report.weighted,
    }
    for name, mean in means.items():
        if mean is None:
            continue
        table.add_row(translate(name, count=len(report.classes)), *_rates(mean), f"{supports:,}")
    console.print(table)
    left_out = len(report.classes) - limit
    if left_out > 0:
        console.print(
            translate("not shown: {count:,} less frequent class{plural}", count=left_out, plural="es" * (left_out != 1))
        )
    error = report.calibration_error
    if error is not None:
        console.print(
            translate(
                "expected calibration error {error:.2f} % ({bins} bins of confidence)", error=100 * error, bins=BINS
            )
        )


@to_text.register
def classes_to_text(report: ClassReport) -> str:
    """Return the table of all classes."""
    return capture(lambda console: print_class_report(report, console, limit=len(report.classes)))


def _rates(scores: Scores) -> list[str]:
    return [f"{100 * rate:.2f} %" for rate in (scores.precision, scores.recall, scores.f1)]
