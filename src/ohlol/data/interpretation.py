"""How a file is read, and why: the line that `ohlol train` prints before it trains."""

from dataclasses import dataclass

import numpy as np

from ohlol.config import DataSettings
from ohlol.data.dates import ORDERS
from ohlol.data.lines import quote
from ohlol.data.panel import Panel
from ohlol.data.readers.column_names import list_names, split_names
from ohlol.utils.translation import join_phrases, message_id, translate

ROLES = (
    message_id("input"),
    message_id("target"),
    message_id("time"),
    message_id("series"),
    message_id("known"),
    message_id("observed"),
    message_id("static"),
)
"""What the columns of a table are for, as settings name it."""
READ_BY = {"char": message_id("by character"), "word": message_id("by word")}


@dataclass(frozen=True)
class Interpretation:
    """How a file is read, and why."""

    file: str
    """As messages name it."""
    settings: DataSettings
    """Complete."""
    reason: str
    """Why it has its format."""
    names: tuple[str, ...] = ()
    """The names of all columns of a table; empty where a file is no table."""
    details: tuple[str, ...] = ()
    """What was found in the file, as `describe_panel` says it."""

    @property
    def unread(self) -> tuple[str, ...]:
        """The columns of a table that are not read."""
        settings = self.settings
        if not self.names:
            return ()
        if settings.layout == "wide":
            return ()
        chosen = [name for names in settings.columns().values() for name in _columns(names, self.names)]
        read = {name if name in self.names else self.names[int(name) - 1] for name in chosen}
        return tuple(name for name in self.names if name not in read)

    def __str__(self) -> str:
        """One line: file, format with the reason, task, columns and level."""
        settings = self.settings
        form = translate("{file}: {format} ({reason})", file=self.file, format=settings.format, reason=self.reason)
        parts = [form, translate("task {task}", task=settings.task)]
        if settings.input and settings.input == settings.target:
            parts.append(translate("input and target {input}", input=_listed(settings.input, self.names)))
        else:
            parts += [f"{translate(role)} {_listed(names, self.names)}" for role, names in settings.columns().items()]
        parts += [*([translate("a series in each row")] if settings.layout == "wide" else []), *self.details]
        parts += [translate(READ_BY[settings.level])] if settings.level else []
        orders = [name for name, letters in ORDERS.items() if letters == settings.date_order != "ymd"]
        parts += [translate("dates with the {order}", order=translate(order)) for order in orders]
        parts += [translate("decimal mark {decimal!r}", decimal=settings.decimal)] if settings.decimal else []
        parts += (
            [translate("thousands separator {thousands!r}", thousands=settings.thousands)] if settings.thousands else []
        )
        parts += (
            [translate("missing values written as {names}", names=quote(settings.missing))] if settings.missing else []
        )
        parts += (
            [translate("labels separated by {label_separator!r}", label_separator=settings.label_separator)]
            if settings.label_separator
            else []
        )
        parts += [translate("sheet {sheet!r}", sheet=settings.sheet)] if settings.sheet else []
        parts += [translate("encoding {encoding}", encoding=settings.encoding)] if settings.encoding else []
        return join_phrases(parts) + (
            translate("; not read: {unread}", unread=list_names(self.unread)) if self.unread else ""
        )


def describe_panel(panel: Panel, *, is_inferred: bool) -> tuple[str, ...]:
    """What a panel holds, in phrases: its step, season, series, lengths and missing values.

    Args:
        panel: the series.
        is_inferred: whether the season was inferred from the values.
    """
    count, season = len(panel.series), panel.season
    lengths = sorted(len(series.values) for series in panel.series)
    rows = (
        translate("{count:,} rows", count=lengths[0])
        if lengths[0] == lengths[-1]
        else translate("{shortest:,} to {longest:,} rows", shortest=lengths[0], longest=lengths[-1])
    )
    of = translate("{count:,} series of ", count=count) * (count > 1)
    missing = sum(int(np.isnan(series.values).sum()) for series in panel.series)
    why = translate(" (a peak of the autocorrelation; choose another with season)") * (is_inferred and season > 1)
    return (
        str(panel.step),
        f"{of}{rows}",
        translate("season of {season}{why}", season=season, why=why) if season > 1 else translate("no season"),
        *([translate("missing values: {missing:,}", missing=missing)] if missing else []),
    )


def _columns(setting: str, names: tuple[str, ...]) -> list[str]:
    return [setting] if setting in names or not names else split_names(setting)


def _listed(setting: str, names: tuple[str, ...]) -> str:
    return list_names(tuple(_columns(setting, names)))
