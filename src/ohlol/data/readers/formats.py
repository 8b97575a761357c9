"""What format a file has, told from its name, its first rows and the task; reads no sequences."""

from ohlol.config import DataSettings
from ohlol.data.lines import Line, Lines, is_row, is_strings, json_object, looks_like_json, nfc
from ohlol.data.readers import labelled
from ohlol.data.readers.arrow import ARROW, PARQUET
from ohlol.data.readers.tables import DELIMITERS

JSON = (".jsonl", ".ndjson")
CONLL = (".conll", ".conllu", ".conllup", ".conllx")
COLUMNAR = (*PARQUET, *ARROW)


def format_of(lines: Lines, settings: DataSettings) -> str:
    """The format that a file's name, its first row and the task tell."""
    if settings.task in ("classify", "forecast"):
        return "columns"
    if settings.task == "next":
        return "text"
    first = lines.first(is_row)
    cells = first.text.split("\t") if first else []
    asked = bool(settings.input or settings.target)
    is_json = lines.suffix in JSON or (lines.suffix == "" and looks_like_json(first, "input"))
    if lines.suffix == ".csv" or (is_json and (asked or not _is_pair(first))):
        return "columns"
    if is_json:
        return "pairs"
    even = len(cells) == 2 and len({len(labelled.split(nfc(cell), settings.level)) for cell in cells}) == 1
    if lines.suffix not in CONLL and even and not asked:
        return "pairs"
    if lines.suffix in CONLL or (len(cells) == len(labelled.CONLLU) and lines.suffix != ".tsv"):
        return "conll"
    if lines.suffix == ".tsv" or (asked and len(cells) > 1):
        return "columns"
    return "text" if settings.task is None else "pairs"


def _is_pair(first: Line | None) -> bool:
    if not looks_like_json(first, "input", "target"):
        return False
    entries = json_object(first)
    given, wanted = entries["input"], entries["target"]
    if is_strings(given) and is_strings(wanted):
        return True
    return isinstance(given, str) and isinstance(wanted, str) and len(given) == len(wanted)


def _names_input(first: Line | None, settings: DataSettings) -> bool:
    """Whether a first line is a header that names the input column."""
    if not settings.header or first is None:
        return False
    cells = {cell.strip('" ') for mark in DELIMITERS for cell in nfc(first.text).split(mark)}
    return settings.input in cells


def has_tab(lines: Lines) -> bool:
    """Whether a file of labelled lines has columns, by its name or its first row."""
    row = lines.head.first(is_row)
    return lines.suffix in CONLL or (row is not None and "\t" in row.text)


def table_kind(lines: Lines, settings: DataSettings, targets: bool) -> str:
    """What a file of columns is: columnar, json, csv, or plain, where a sequence a line is all that is wanted."""
    if lines.suffix in COLUMNAR:
        return "columnar"
    first = lines.head.first()
    if lines.suffix in JSON or (lines.suffix not in (".csv", ".tsv") and looks_like_json(first)):
        return "json"
    named = lines.suffix in (".csv", ".tsv") or _names_input(first, settings)
    return "csv" if targets or settings.task != "classify" or named else "plain"
