"""The format of a file, chosen or inferred, and the file as the reader of this format opens it."""

from dataclasses import replace
from pathlib import Path

from ohlol.config import DataSettings
from ohlol.data.frames import Records
from ohlol.data.lines import Lines
from ohlol.data.readers.base import READERS, Contents, Reader, infer_reader
from ohlol.data.settings import check_settings
from ohlol.data.targets import TARGET_KINDS
from ohlol.utils.errors import InputError

FilePath = str | Path | Records
"""A file, or a table in memory."""


def open_lines(path: FilePath, settings: DataSettings) -> Lines:
    """The lines of a file, or the table in their place."""
    return path.lines() if isinstance(path, Records) else Lines(path, settings.encoding)


def reader_of(settings: DataSettings) -> Reader:
    """The reader of the format in complete settings."""
    return READERS[settings.format or ""]


def infer_format(lines: Lines, settings: DataSettings) -> tuple[Reader, DataSettings, str]:
    """The reader of a file, the settings with its format, and why it has this format; raises InputError."""
    reason = "chosen"
    if settings.format is None:
        reader, (_, reason) = infer_reader(lines.head, settings)
        settings = check_settings(replace(settings, format=reader.name))
    return reader_of(settings), settings, reason


def open_file(lines: Lines, settings: DataSettings, *, with_targets: bool) -> tuple[Contents, str]:
    """What the reader of its format reads of a file, and why the file has this format.

    Raises:
        InputError: the file cannot be read, or the settings are not those of its format.
    """
    reader, settings, reason = infer_format(lines, settings)
    contents = reader.open(lines, settings, with_targets=with_targets)
    if settings.reversed:
        task = contents.settings.task
        if contents.examples is None or task is None or not TARGET_KINDS[task].continues_text:
            raise InputError("`reversed` is for texts whose symbols are predicted, and the task is {task}", task=task)
    return contents, reason


def resolve(path: FilePath, settings: DataSettings, *, with_targets: bool = True) -> DataSettings:
    """The settings, completed with what is inferred from a file; raises InputError."""
    settings = check_settings(settings)
    lines = open_lines(path, settings)
    reader, settings, _ = infer_format(lines, settings)
    return reader.resolve(lines, settings, with_targets=with_targets)
