"""The profile of a file as text for a terminal."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ohlol.data.profile import ColumnProfile, Profile
from ohlol.data.readers.column_stats import DISTINCT
from ohlol.utils.terminal import escape_symbol
from ohlol.utils.translation import join_list, translate

CELL, COLUMNS = 60, 8
"""Characters of a cell, and columns, of the first rows that are shown."""
SHOWN_COLUMNS = 50
"""Columns whose contents are shown; a table with a series in each row may have thousands."""


def print_profile(profile: Profile, console: Console) -> None:
    """Print how a file is read, its columns, lengths, labels and first rows."""
    console.print(profile.reading, soft_wrap=True)
    some = "" if profile.is_whole else translate(" (a sample: the start of the file)")
    if profile.columns:
        console.print(translate("rows: {rows:,}{some}", rows=profile.rows, some=some))
        table = Table(translate("column"), translate("read as"), translate("type"), box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column(translate("missing"), justify="right")
        table.add_column(translate("values"))
        for column in profile.columns[:SHOWN_COLUMNS]:
            name, values = _text(column.name), _text(_values(column))
            table.add_row(name, column.role or "-", _kind(column.kind), f"{column.missing:,}", values)
        console.print(table)
        if len(profile.columns) > SHOWN_COLUMNS:
            console.print(translate("and {count:,} more columns", count=len(profile.columns) - SHOWN_COLUMNS))
    if profile.time is not None:
        console.print(translate("dates: {time}", time=profile.time))
    if profile.lengths is not None:
        shortest, middle, longest = profile.lengths
        some = "" if profile.columns else some
        span = (
            translate(
                "{shortest:,} to {longest:,}, median {middle:,g}", shortest=shortest, longest=longest, middle=middle
            )
            if shortest < longest
            else f"{longest:,}"
        )
        console.print(
            translate(
                "sequences: {sequences:,}, length {span}{some}", sequences=profile.sequences, span=span, some=some
            )
        )
    if profile.labels:
        listed = ", ".join(f"{escape_symbol(label)!r} {count:,}" for label, count in profile.labels)
        console.print(
            translate("labels: {count:,}: {listed}", count=profile.label_count, listed=listed)
            + ", ..." * (profile.label_count > len(profile.labels))
        )
    if profile.first:
        console.print(_first_rows(profile))
    for warning in profile.warnings:
        console.print(translate("warning: {message}", message=warning), soft_wrap=True)


def _first_rows(profile: Profile) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_header=bool(profile.columns))
    names: Sequence[str] = [column.name for column in profile.columns] or [""] * len(profile.first[0])
    for name in names[:COLUMNS]:
        table.add_column(_text(name), no_wrap=True, overflow="ellipsis")
    for row in profile.first:
        table.add_row(*(_text(cell[:CELL]) for cell in row[:COLUMNS]))
    return table


def _values(column: ColumnProfile) -> str:
    if column.low is not None and column.high is not None:
        low, high = (f"{value:.6g}" if isinstance(value, float) else value for value in (column.low, column.high))
        return translate("{low} to {high}", low=low, high=high)
    listed = ", ".join(f"{value[:20]!r}" + f" {count:,}" * (count > 1) for value, count in column.frequent)
    more = translate(" or more") * (column.distinct >= DISTINCT)
    return (
        translate("{count:,}{more} different: {listed}", count=column.distinct, more=more, listed=listed)
        if listed
        else ""
    )


def _kind(kind: str) -> str:
    """The kind of a column, in the language of the output."""
    return join_list(translate(word) for word in kind.split(", "))


def _text(text: str) -> Text:
    return Text(escape_symbol(text))  # not str: [b] in data is not markup
