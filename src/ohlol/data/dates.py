"""Dates in cells: the forms that are read, and what shows that a text is meant as a date.

A form leaves open what its numbers are, as 01/02/2020 does, so a column is read in one reading throughout.
"""

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from ohlol.config import DATE_ORDERS
from ohlol.utils.translation import message_id

DAY = 86_400
"""The seconds of a day."""
ORDERS = {message_id("year first"): "ymd", message_id("day first"): "dmy", message_id("month first"): "mdy"}
"""The letters of the setting `date_order` by the reading that it chooses."""
YEAR_AND_MONTH, PERIOD = message_id("year and month"), message_id("month, quarter or half of a year")
NAMED_MONTH = message_id("name of the month")
READINGS = ("ISO", *ORDERS, YEAR_AND_MONTH, PERIOD, NAMED_MONTH)
"""How dates are read; a column of dates is read in the same way throughout."""
LONGEST = 40
"""Characters of a date."""
CLOCK = (
    r"(?:(?:[ T]|, )+(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?P<part>[.,]\d+)?)?"
    r"(?: ?(?P<half>[AaPp])\.?[Mm]\.?)?(?P<zone> ?(?:Z|UTC|GMT))?)?"
)
NUMBERS = re.compile(rf"(\d{{1,4}})([-/.])(\d{{1,4}})(?:\2(\d{{1,4}}))?{CLOCK}", re.ASCII)
CHINESE = re.compile(rf"(\d{{4}})年(\d{{1,2}})月(?:(\d{{1,2}})[日号])?{CLOCK}", re.ASCII)
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
MONTH = (
    r"(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
GAP, YEAR_NUMBER, DAY_NUMBER = r"[-/ ,.]{1,2}", r"(?P<year>\d{4}|\d{2})", r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
DATED = re.compile(
    r"(?:\d{4}([-/.])\d{1,2}\1\d{1,2}|\d{1,2}([-/.])\d{1,2}\2\d{4})\b"
    r"[\s\d:.,+-]*(?:[A-Za-z]{1,5}|[A-Za-z]+/[A-Za-z_]+)?[\s\d:+-]*",
    re.ASCII,
)
"""A text that is meant as a date: it begins as one, and has at most a short word or the name of a zone."""
WEEKDAY = re.compile(r"(?:mon|tue|wed|thu|fri|sat|sun)[a-z]{0,6}\.?,? +", re.ASCII | re.IGNORECASE)
NAMED = [
    re.compile(form + CLOCK, re.ASCII | re.IGNORECASE)
    for form in (
        rf"{DAY_NUMBER}(?:{GAP})?{MONTH}(?:{GAP})?{YEAR_NUMBER}",
        rf"{MONTH}{GAP}{DAY_NUMBER}(?:, ?| ){YEAR_NUMBER}",
        rf"(?P<year>\d{{4}}){GAP}{MONTH}(?:{GAP}{DAY_NUMBER})?",
        rf"{MONTH}{GAP}(?P<year>\d{{4}})",
        rf"{MONTH}(?:-| ?'){YEAR_NUMBER}",  # not "Jan 15", which may be a day
    )
]
"""Dates with the English name of a month, in the order in which they are tried."""
MONTHS_OF = {"M": 1, "Q": 3, "H": 6, "S": 6}
"""The months of a period by its letter."""
PERIODS = [
    re.compile(form, re.ASCII | re.IGNORECASE)
    for form in (
        r"(?P<year>\d{4})(?:[- ]?[MQH]|-S)(?<=(?P<unit>[MQHS]))(?P<number>\d{1,2})",
        r"(?P<unit>[QHS])(?P<number>\d)[-/ ](?P<year>\d{4})",
        r"(?P<unit>Q)(?P<number>\d)(?:[-/ ]|[ -]?')(?P<year>\d{2})",  # not "H123", which is a name
        r"(?P<number>\d)(?P<unit>[QH])[-/ ]?'?(?P<year>\d{4}|\d{2})",
    )
]
"""Months, quarters and halves of a year."""
TIME_WORDS = {
    "t", "date", "datetime", "ds", "day", "month", "week", "quarter", "year", "time", "timestamp", "ts", "period",
    "epoch", "unix", "unixtime", "yyyymm", "yyyymmdd", "yearmonth", "yearweek", "fy", "datum", "uhrzeit", "zeit",
    "zeitpunkt", "zeitstempel", "tag", "monat", "woche", "quartal", "jahr", "fecha", "hora", "dia", "día", "mes",
    "semana", "trimestre", "año", "ano", "jour", "mois", "semaine", "année", "annee", "heure", "giorno", "mese",
    "settimana", "anno", "maand", "kwartaal", "jaar", "дата", "год", "месяц"
}  # fmt: skip
"""Words in the names of columns of dates and times, in several languages."""
TIME_CHARACTERS = re.compile(r".*(?:日期|时间|時間|日付).*|[年月日周]|年份|月份|年月|年度|季度|周次")
"""Names of such columns in Chinese and Japanese."""
WEEK_WORDS = {"week", "yearweek", "wk", "kw", "woche", "semana", "semaine", "settimana", "周"}
DATE_WORDS = {"date", "datum", "fecha", "dato", "дата", "日期", "日付"}
"""Words in the names of columns whose numbers are days as a spreadsheet counts them."""
YEARS = 1000, 3000
"""The first and the last number that is taken for a year."""
YEAR_WORDS = {"year", "yr", "jahr", "año", "ano", "année", "annee", "anno", "jaar", "год", "年", "年份"}
QUARTER_WORDS = {"quarter", "qtr", "quartal", "trimestre", "kwartaal", "季度"}
MONTH_WORDS = {"month", "monat", "mes", "mois", "mese", "maand", "месяц", "月", "月份"}
DAY_WORDS = {"day", "tag", "dia", "día", "jour", "giorno", "日"}
WEEKDAY_WORDS = {"weekday", "dayofweek", "wochentag", "星期"}
HOUR_WORDS, MINUTE_WORDS = {"hour", "stunde", "hora", "heure", "时"}, {"minute", "minuto", "分"}
"""Words in the names of columns that hold a part of a date."""
TOTAL_WORDS = {"to"}
"""Words in the names of columns of totals, such as "sales to date"."""
TIME_OF_DAY = re.compile(r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?: ?[AaPp]\.?[Mm]\.?)?", re.ASCII)
"""A time of day without a date."""
EXCEL_FIRST, EXCEL_LAST, EXCEL_ZERO = 20_000, 80_000, 25_569
"""The days of Excel from 1954 to 2119, and that of 1970-01-01."""
EPOCH = 719_162 * DAY
"""The seconds from year 1 to 1970."""
UNIX_FIRST, UNIX_LAST = 3e8, 4.2e9
"""The seconds of Unix time from 1979 to 2103."""
UNIX_WORDS = {
    "t", "ts", "ds", "date", "datetime", "time", "timestamp", "epoch", "unix", "unixtime", "event", "open", "utc", "s",
    "ms", "us", "ns"
}  # fmt: skip
"""Words of the names of columns of Unix time."""
UNIX_UNITS = (1, 10**3, 10**6, 10**9)
"""How many units of Unix time are a second; the bounds of no two overlap."""


class Moment(NamedTuple):
    """A date, or a date and a time of day."""

    local: float
    """The seconds from year 1 on the clock that the cell names."""
    offset: float | None = None
    """How many seconds this clock is ahead of UTC; None where the cell has no time zone."""


def name_words(name: str) -> set[str]:
    """The words in the name of a column, in lower case.

    >>> sorted(name_words("orderDate_2"))
    ['date', 'order']
    """
    return set(re.findall(r"[^\W\d_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()))


def is_made_of(name: str, words: set[str]) -> bool:
    """Whether the name of a column has words, and all of them are among some."""
    return set() < name_words(name) <= words


def is_time_name(name: str, *, alone: bool = False) -> bool:
    """Whether the name of a column has a word of dates or times, or with `alone` no other words.

    >>> [is_time_name(name) for name in ("order_date", "日期", "Monat", "ts_ms", "sales", "年龄段")]
    [True, True, True, True, False, False]
    >>> [is_time_name(name, alone=True) for name in ("order_date", "Date_1")]
    [False, True]
    """
    is_named = is_made_of(name, TIME_WORDS) if alone else bool(name_words(name) & TIME_WORDS)
    return is_named or TIME_CHARACTERS.fullmatch(name.strip()) is not None


def is_unix_name(name: str) -> bool:
    """Whether the name of a column is that of times alone, so that large integers in it may be Unix time.

    >>> is_unix_name("ts_ms"), is_unix_name("response_time")
    (True, False)
    """
    return is_made_of(name, UNIX_WORDS)


def parse_date(cell: Any, reading: str) -> float | None:
    """The seconds from year 1 to a date in a cell, in UTC where it has a time zone; None where it holds none so read.

    >>> parse_date("2020-01-31", "ISO") == parse_date("31/01/2020", "day first")
    True
    >>> parse_date("31/01/2020", "month first")
    >>> parse_date("2001Q3", PERIOD) == parse_date("2001-07", YEAR_AND_MONTH) == parse_date("Jul 2001", NAMED_MONTH)
    True
    """
    moment = parse_moment(cell, reading)
    return None if moment is None else moment.local - (moment.offset or 0)


def parse_moment(cell: Any, reading: str) -> Moment | None:
    """The date in a cell; None where it holds none in this reading."""
    if isinstance(cell, datetime):
        return _moment(cell) if reading == "ISO" else None
    if isinstance(cell, date):
        return _moment(datetime(cell.year, cell.month, cell.day)) if reading == "ISO" else None
    if not isinstance(cell, str) or len(cell) > LONGEST:
        return None
    text = cell.strip()
    if reading == "ISO":
        return _parse_iso(text)
    if reading == PERIOD:
        return _parse_period(text)
    text = WEEKDAY.sub("", text, count=1) if text[:1].isalpha() else text
    if reading == NAMED_MONTH:
        match = next((match for form in NAMED if (match := form.fullmatch(text))), None)
        if match is None:
            return None
        parts = match.groupdict()
        month = MONTHS.index(parts["month"][:3].lower()) + 1
        return _on_clock(_year(parts["year"]), month, int(parts.get("day") or 1), match)
    return _parse_numbers(text, "ym" if reading == YEAR_AND_MONTH else ORDERS[reading])


def _parse_numbers(text: str, letters: str) -> Moment | None:
    """A date of numbers in an order such as "ymd"; between points the month is never first."""
    match = CHINESE.fullmatch(text) if letters in ("ymd", "ym") else None
    parts = list(match.groups()[:3]) if match else []
    if match is None and (match := NUMBERS.fullmatch(text)):
        parts = [match[1], match[3], match[4]]
    parts = [part for part in parts if part is not None]
    if match is None or len(parts) != len(letters) or (letters == "mdy" and match[2] == "."):
        return None
    named = dict(zip(letters, parts, strict=True))
    short = (2, 4) if letters[0] != "y" or (letters == "ymd" and match[2] == "-") else (4,)
    if len(named["y"]) not in short or any(len(named.get(letter, "")) > 2 for letter in "md"):
        return None
    return _on_clock(_year(named["y"]), int(named["m"]), int(named.get("d", "1")), match)


def _parse_iso(text: str) -> Moment | None:
    """A date as ISO 8601 writes it, also of a week, with 24:00 and with UTC as the name of a zone."""
    if not ("-" in text or "W" in text or "T" in text):
        return None
    for name in ("UTC", "GMT"):
        text = text.removesuffix(name).rstrip() + "+00:00" if text.endswith(name) else text
    is_midnight = re.fullmatch(r"\S+[T ]24(:?00){1,2}(\D.*)?", text) is not None
    try:
        moment = datetime.fromisoformat(re.sub(r"(?<=[T ])24", "00", text, count=1) if is_midnight else text)
        return _moment(moment + timedelta(is_midnight))
    except (ValueError, OverflowError):
        return None


def _parse_period(text: str) -> Moment | None:
    """The start of a month such as 1949M01, a quarter such as 2001-Q3 or Q3 2001, or a half such as 2001H2."""
    match = next((match for form in PERIODS if (match := form.fullmatch(text))), None)
    if match is None:
        return None
    months = MONTHS_OF[match["unit"].upper()]
    month = (int(match["number"]) - 1) * months + 1
    return _on_clock(_year(match["year"]), month, 1) if 1 <= month <= 12 else None


def _year(text: str) -> int:
    return int(text) + (2000 if len(text) == 2 else 0)


def _on_clock(year: int, month: int, day: int, match: re.Match[str] | None = None) -> Moment | None:
    """A date with the time of day that a match of `CLOCK` holds; None where there is no such date."""
    clock = {} if match is None else match.groupdict()
    hour, minute, second = (int(clock.get(part) or 0) for part in ("hour", "minute", "second"))
    if half := clock.get("half"):
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + 12 * (half in "Pp")
    is_midnight = (hour, minute, second) == (24, 0, 0)
    try:
        moment = datetime(year, month, day, 0 if is_midnight else hour, minute, second) + timedelta(is_midnight)
    except (ValueError, OverflowError):
        return None
    moment += timedelta(seconds=float("0" + (clock.get("part") or ".0").replace(",", ".")))
    return _moment(moment.replace(tzinfo=UTC) if clock.get("zone") else moment)


def _moment(moment: datetime) -> Moment:
    zone = moment.utcoffset()
    local = (moment.replace(tzinfo=None) - datetime(1, 1, 1)).total_seconds()
    return Moment(local, None if zone is None else zone.total_seconds())


def days_in_numbers(numbers: Iterable[int], name: str) -> list[float] | None:
    """The seconds from year 1 to the dates in numbers.

    They are days as 20200131, hours as 2020013123, minutes, months as 202001, weeks as 202053, or Excel's 43861.

    Args:
        numbers: of a column.
        name: of the column; a name such as "week" or "date" decides what two digits or five are.

    Returns:
        None where one of the numbers is no date.

    >>> days_in_numbers([20200131], "x") == days_in_numbers([43861], "date") == [parse_date("2020-01-31", "ISO")]
    True
    """
    numbers, words = list(numbers), name_words(name)
    low, high = min(numbers), max(numbers)
    if EXCEL_FIRST <= low <= high <= EXCEL_LAST and words & DATE_WORDS and not words & TOTAL_WORDS:
        return [EPOCH + float((number - EXCEL_ZERO) * DAY) for number in numbers]
    try:
        if 1800_01_01 <= low <= high < 2250_00_00:
            dates = [date(n // 10_000, n // 100 % 100, n % 100) for n in numbers]
        elif 1800_00 < low <= high < 2250_00 and (words & WEEK_WORDS or max(n % 100 for n in numbers) > 12):
            dates = [date.fromisocalendar(n // 100, n % 100, 1) for n in numbers]
        elif 1800_00 < low <= high < 2250_00:
            dates = [date(n // 100, n % 100, 1) for n in numbers]
        elif 1800_01_01_00 <= low <= high < 2250_00_00_00:
            return [_seconds_to(n // 100, n % 100) for n in numbers]
        elif 1800_01_01_00_00 <= low <= high < 2250_00_00_00_00:
            return [_seconds_to(n // 10_000, n // 100 % 100, n % 100) for n in numbers]
        else:
            return None
    except ValueError:
        return None
    return [float((day.toordinal() - 1) * DAY) for day in dates]


def _seconds_to(day: int, hour: int, minute: int = 0) -> float:
    """The seconds from year 1 to a time on a day such as 20200131; raises ValueError where there is none."""
    return _moment(datetime(day // 10_000, day // 100 % 100, day % 100, hour, minute)).local


def is_date(cell: Any) -> bool:
    """Whether a cell holds a date in some reading."""
    return any(parse_moment(cell, reading) is not None for reading in READINGS)


def readings_of(date_order: str | None) -> list[str]:
    """The readings that a setting `date_order` leaves."""
    assert set(ORDERS.values()) == set(DATE_ORDERS)
    return [reading for reading in READINGS if date_order is None or ORDERS.get(reading, date_order) == date_order]


def count_dates(cells: Iterable[Any]) -> dict[str, int]:
    """How many cells hold a date, by reading."""
    cells = list(cells)
    return {reading: sum(parse_moment(cell, reading) is not None for cell in cells) for reading in READINGS}
