"""Checks of the settings that say how data are read."""

from dataclasses import replace

from ohlol.config import (
    DATE_ORDERS,
    DECIMAL_MARKS,
    LAYOUTS,
    LEVELS,
    MAX_SIZE,
    THOUSANDS_MARKS,
    DataSettings,
    check_choice,
)
from ohlol.data.lines import quote
from ohlol.data.opening import check_encoding
from ohlol.data.readers.base import READERS, Reader, default_task
from ohlol.data.readers.columns import PANEL
from ohlol.data.targets import TARGET_KINDS
from ohlol.utils.errors import InputError
from ohlol.utils.translation import join_list, translate

FORECAST_SETTINGS = ("known", "observed", "static", "layout", "season", "horizon")
"""Settings of panels; `time` and `series` are also those of sequences of numbers with a target each."""
TABLE_SETTINGS = ("decimal", "thousands", "missing", "date_order")
"""Settings of the cells of tables."""


def check_settings(settings: DataSettings) -> DataSettings:
    """Check that task, format and level exist and suit each other, and complete those that follow from the format.

    Raises:
        InputError: one does not exist, or the format does not serve the task or the level.
    """
    for name, choices in (
        ("task", TARGET_KINDS),
        ("format", READERS),
        ("level", LEVELS),
        ("layout", LAYOUTS),
        ("date_order", DATE_ORDERS),
    ):
        if (value := getattr(settings, name)) is not None:
            check_choice(value, name, choices)
    for name, value, choices in (
        ("decimal", settings.decimal, DECIMAL_MARKS),
        ("thousands", settings.thousands, THOUSANDS_MARKS),
    ):
        if value is not None and value not in choices:
            raise InputError(
                "`{name}` is {value}; it must be one of {choices}",
                name=name,
                value=quote(value),
                choices=" ".join(map(repr, choices)),
            )
    if settings.thousands == (settings.decimal or "."):
        raise InputError(
            "`decimal` and `thousands` are both {thousands}; they must differ", thousands=quote(settings.thousands)
        )
    if settings.label_separator is not None:
        _check_separator(settings)
    if settings.encoding is not None:
        check_encoding(settings.encoding)
    for name in ("season", "horizon"):
        if (value := getattr(settings, name)) is not None and not 1 <= value <= MAX_SIZE:
            raise InputError(
                "`{name}` is {value}; it must be at least 1"
                if value < 1
                else "`{name}` is {value}; it must be at most {most}",
                name=name,
                value=value,
                most=MAX_SIZE,
            )
    chosen = [name for name in FORECAST_SETTINGS if getattr(settings, name) is not None]
    if settings.task is None and chosen and not (chosen == ["static"] and settings.input):  # beside a text
        settings = replace(settings, task=default_task(PANEL))
    if settings.format is not None:
        settings = _check_format(settings, READERS[settings.format])
    kind = None if settings.task is None else TARGET_KINDS[settings.task]
    has_series = kind is None or kind.horizon or (kind.per_sequence and not kind.multiple)
    for names, suits, what in (
        (FORECAST_SETTINGS, kind is None or kind.horizon, translate("task {task}", task=default_task(PANEL))),
        (("series", "time"), has_series, translate("series of numbers")),
    ):
        for name in names:
            value = getattr(settings, name)
            if name == "static" and kind is not None and kind.per_sequence:
                continue
            if not suits and value is not None and not (value == "" and kind is not None and kind.numeric):
                raise InputError(
                    "`{name}` is for {what}, and the task is {task}", name=name, what=what, task=settings.task
                )
    return settings


def _check_format(settings: DataSettings, reader: Reader) -> DataSettings:
    for name in TABLE_SETTINGS:
        if getattr(settings, name) is not None and PANEL not in reader.targets:
            raise InputError("`{name}` is for tables, and the format is {format}", name=name, format=reader.name)
    if settings.task is not None and not reader.serves(settings.task):
        suitable = join_list(name for name, other in READERS.items() if other.serves(settings.task))
        raise InputError(
            "format {format} does not serve task {task}; use {suitable}",
            format=settings.format,
            task=settings.task,
            suitable=suitable,
        )
    if reader.level is not None and settings.level not in (None, reader.level):
        suitable = join_list(name for name, other in READERS.items() if other.level == settings.level)
        raise InputError(
            "format {format} has the level {level}; for level {wanted} use {suitable}",
            format=settings.format,
            level=reader.level,
            wanted=settings.level,
            suitable=suitable,
        )
    only_task = default_task(reader.targets[0]) if len(reader.targets) == 1 else None
    return replace(settings, task=settings.task or only_task, level=reader.level or settings.level)


def _check_separator(settings: DataSettings) -> None:
    if not settings.label_separator:
        raise InputError("`label_separator` is empty; give the text between two labels, such as |")
    if settings.task is not None and not TARGET_KINDS[settings.task].multiple:
        raise InputError(
            "`label_separator` separates the labels of a set, and task {task} has no sets", task=settings.task
        )
