"""The most frequent confusions of an evaluation, as a table for a terminal."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ohlol.utils.terminal import escape_symbol
from ohlol.utils.translation import translate


def print_confusions(confusions: Sequence[tuple[str, str, int, float]], console: Console) -> None:
    """Print rows of (target, predicted label, count, share of the target's steps)."""
    table = Table(translate("target"), translate("predicted"), box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(translate("count"), justify="right")
    table.add_column(translate("of the target"), justify="right")
    for target, predicted, count, share in confusions:
        labels = (Text(escape_symbol(label)) for label in (target, predicted))  # not str: [b] in a label is not markup
        table.add_row(*labels, str(count), f"{100 * share:.1f} %")
    console.print(table)
