"""Columns chosen by name or by number, and how messages list them."""

import csv
import io
from collections.abc import Iterable

from ohlol.data.lines import Place, error_at, quote
from ohlol.utils.digits import parse_digits
from ohlol.utils.translation import join_list, translate

LISTED = 20
"""Names of columns that a message lists."""


def list_names(names: tuple[str, ...]) -> str:
    """The names of columns as a message gives them."""
    more = translate(" and {count} more", count=len(names) - LISTED) * (len(names) > LISTED)
    return (join_list(map(quote, names[:LISTED])) or translate("none")) + more


def find_column(names: tuple[str, ...], name: str, place: Place) -> int:
    """The index of the column with a name, or with a number counted from 1.

    Raises:
        InputError: there is none, or there are several.
    """
    if names.count(name) > 1:
        raise error_at(
            place,
            translate(
                "{count} columns are named {name}; give the column's number",
                count=names.count(name),
                name=quote(name),
            ),
        )
    if name in names:
        return names.index(name)
    number = parse_digits(name)
    if number is not None and 1 <= number <= len(names):
        return number - 1
    raise error_at(place, translate("no column {name}; there are {names}", name=quote(name), names=list_names(names)))


def find_columns(names: tuple[str, ...], setting: str, place: Place) -> list[int]:
    """The indices of the columns that a setting lists; raises InputError."""
    chosen = [setting] if setting in names else split_names(setting)
    if not chosen:
        raise error_at(
            place,
            translate("{setting} names no column; there are {names}", setting=quote(setting), names=list_names(names)),
        )
    return [find_column(names, name, place) for name in chosen]


def split_names(setting: str) -> list[str]:
    """The columns that a setting lists, separated by commas; a name with a comma is in quotes."""
    return [name.strip() for name in split_row(setting, ",")]


def join_names(names: Iterable[str]) -> str:
    """The setting that lists some columns; the reverse of `split_names`."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(names)
    return text.getvalue()


def split_row(text: str, delimiter: str) -> list[str]:
    """The cells of the first row of a CSV text; empty where it has none."""
    try:
        return next(iter(csv.reader([text], delimiter=delimiter)))
    except (csv.Error, StopIteration):
        return []
