"""What a sweep searches: settings and the range of each, told from flags or by the task; knows not how it is searched.

A range is written as `search` takes it: `cell=gru,lstm` are choices, `hidden_size=32:256:8` is every eighth number,
`lr=1e-4:1e-2:log` has all orders of size alike, and a name alone, `lr`, stands for the range that it has by default.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from ohlol.cells import CELLS
from ohlol.config import ModelSettings, TrainSettings, check
from ohlol.models.sequence_model import runs_in_loop
from ohlol.tasks import TASKS
from ohlol.utils.errors import InputError, cut

Value = str | int | float | bool

DIGITS = 3
"""Significant digits of a number that is searched: what is trained is what is shown, and more decide nothing."""
FIXED = ("seed", "dev_fraction", "checkpoint_every", "on_nan", "deterministic", "snapshots")
"""Settings that are not searched: they change nothing, or what is measured, so that scores could not be compared."""
OTHERS = (
    "bidirectional=no,yes", "char_rnn_size=32:96:8", "bigram_size=16:128:8", "batch_size=16,32,64,128",
    "bptt=32:128:16", "optimizer=adam,adamw,rmsprop", "lr_schedule=constant,cosine,plateau,onecycle",
    "max_grad_norm=0.25:4:log", "weight_decay=1e-6:1e-2:log", "label_smoothing=0:0.2:0.05",
    "unk_probability=0.05:0.7:log",
)  # fmt: skip
"""What else a name alone may stand for."""


@dataclass(frozen=True)
class Range:
    """What one setting is searched over: choices, or numbers from `low` to `high`."""

    name: str
    """As the field of the setting is called."""
    choices: tuple[Value, ...] = ()
    low: float = 0
    high: float = 0
    step: float | None = None
    log: bool = False
    whole: bool = False
    """Whether its numbers are whole ones."""

    @property
    def text(self) -> str:
        """As `search` takes it."""
        if self.choices:
            return f"{self.name}={','.join(said(v) for v in self.choices)}"
        every = self.step is not None and (self.step, self.whole) != (1, True)
        step = ":log" if self.log else f":{said(self.step or 0)}" if every else ""
        return f"{self.name}={said(self.low)}:{said(self.high)}{step}"

    @property
    def values(self) -> tuple[Value, ...] | None:
        """All values, in order; None where there is no end of them."""
        if self.choices:
            return self.choices
        if not self.whole and self.step is None:
            return None
        step = self.step or 1
        count = int((self.high - self.low) / step + 1e-9) + 1
        return tuple(self.trained(self.low + i * step) for i in range(count))

    def trained(self, value: Value) -> Value:
        """A value as it is trained and shown: numbers that are not whole have `DIGITS` significant digits."""
        if self.choices:
            return value
        return int(value) if self.whole else float(f"{float(value):.{DIGITS}g}")

    def place(self, value: float) -> float:
        """Where a number lies between the ends, from 0 to 1; with `log` by its order of size."""
        low, high, at = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return (at - low) / (high - low)

    def at(self, place: float) -> Value:
        """The number at a place; the reverse of `place`."""
        low, high = (math.log(v) if self.log else v for v in (self.low, self.high))
        value = low + place * (high - low)
        return self.trained(round(math.exp(value) if self.log else value, None if self.whole else 12))

    def nearest(self, value: Value) -> Value:
        """The value of this range that lies nearest to another; the first choice where that is not among them."""
        if self.choices:
            return value if value in self.choices else self.choices[0]
        number = min(max(float(value), self.low), self.high)
        if self.step is not None:
            number = self.low + self.step * round((number - self.low) / self.step)
            number -= self.step * (number > self.high + 1e-9)
        return int(number) if self.whole else number


@dataclass(frozen=True)
class Space:
    """The settings that are searched."""

    ranges: tuple[Range, ...]

    @property
    def texts(self) -> dict[str, str]:
        """Each range as `search` takes it, by name."""
        return {r.name: r.text for r in self.ranges}

    @property
    def size(self) -> int | None:
        """How many different settings there are; None where there is no end of them."""
        values = [r.values for r in self.ranges]
        return None if None in values else math.prod(len(v) for v in values if v is not None)

    def settings(self, values: dict[str, Any]) -> dict[str, Value]:
        """Values as they are trained."""
        return {r.name: r.trained(values[r.name]) for r in self.ranges if r.name in values}

    def nearest(self, model: ModelSettings, training: TrainSettings) -> dict[str, Value]:
        """What lies nearest to some settings, which is they themselves where they lie within."""
        return self.nearest_to(vars(model) | vars(training))

    def nearest_to(self, values: dict[str, Any]) -> dict[str, Value]:
        """The same, of settings by name."""
        return {r.name: r.nearest(values[r.name]) for r in self.ranges}

    def all(self) -> Iterator[dict[str, Value]]:
        """All settings in order, where there is an end of them."""
        values = [r.values or () for r in self.ranges]
        return (dict(zip(self.texts, chosen, strict=True)) for chosen in itertools.product(*values))


def chosen(search: Sequence[str], given: dict[str, Any], task: str, level: str) -> Space:
    """The space of `search`, or the task's own without it.

    Args:
        search: each as `search` takes it.
        given: the settings of model and training that are chosen for all trials, and so not searched.
        task: decides with `level` what is searched by default.
        level: what a symbol is.

    Raises:
        InputError: a range is none, stands twice, is of a setting that is chosen or not searched, or has values out of
            bounds; or nothing is left to search.
    """
    known = {r.name: r for r in map(parse, (*by_default(task, level), *OTHERS))}
    settings = replace(ModelSettings(), **{k: v for k, v in given.items() if k in ("cell", "loop")})
    looped = runs_in_loop(settings)  # such a cell has one layer
    ranges = (
        [parse(text, known) for text in search]
        if search
        else [known[r.name] for r in map(parse, by_default(task, level)) if not (looped and r.name == "num_layers")]
    )
    names = [r.name for r in ranges]
    for r in ranges:
        if names.count(r.name) > 1:
            raise InputError(f"`search` has `{r.name}` twice")
        if search and r.name in given:
            raise InputError(
                f"`{r.name}` is {said(given[r.name])} in all trials, so it cannot be searched; leave it out of `search`"
            )
    ranges = [r for r in ranges if r.name not in given]
    if not ranges:
        raise InputError(
            "every setting is given, so nothing is left to search: leave out one of them, or give `search`"
        )
    order = [f.name for kind in _DEFAULTS for f in fields(kind)]
    return Space(tuple(sorted(ranges, key=lambda r: order.index(r.name))))


def by_default(task: str, level: str) -> tuple[str, ...]:
    """What is searched for a task by default."""
    return TASKS.select(task).search_space(level)


def parse(text: str, known: dict[str, Range] | None = None) -> Range:
    """Read one range, as `search` takes it; `known` are the ranges that a name alone may stand for.

    Raises:
        InputError: it is none.

    >>> parse("hidden_size=32:256:8").values[:3], parse("cell=gru,lstm").choices
    ((32, 40, 48), ('gru', 'lstm'))
    """
    stated, given, rest = text.strip().partition("=")
    name = stated.strip().replace("-", "_")
    owner = _owner(name, *_DEFAULTS)
    if owner is None or name in FIXED:
        there = ", ".join(f.name for kind in _DEFAULTS for f in fields(kind) if f.name not in FIXED)
        raise InputError(f"`search` {cut(text)}: {cut(stated)!r} is no setting to search; there are {there}")
    if not given:
        if known is None or name not in known:
            raise InputError(f"`search` {name} has no range of its own: give one, {name}=LOW:HIGH or {name}=A,B")
        return known[name]
    kind = type(getattr(owner, name))
    made = _numbers(name, kind, rest, text) if ":" in rest else _choices(name, kind, rest, text)
    for value in made.choices or (made.low, made.high):
        try:
            check(*(replace(d, **{name: value}) if d is owner else d for d in _DEFAULTS))  # pyright: ignore[reportArgumentType]
            if name == "cell":
                CELLS.select(str(value))
        except InputError as error:
            raise InputError(f"`search` {cut(text)}: {error}") from None
    if name == "unk_probability" and 0 in (made.choices or (made.low,)):
        raise InputError(f"`search` {cut(text)}: without <unk> scores are of other symbols; begin above 0")
    return made


def said(value: Value) -> str:
    """A value as a flag has it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return repr(value) if isinstance(value, float) and float(short) != value else short


_DEFAULTS = (ModelSettings(), TrainSettings())


def _owner(name: str, model: ModelSettings, training: TrainSettings) -> Any:
    return next((kind for kind in (model, training) if name in {f.name for f in fields(kind)}), None)


def _choices(name: str, kind: type, rest: str, text: str) -> Range:
    values = tuple(_value(name, kind, part.strip(), text) for part in rest.split(","))
    if len(set(values)) < len(values):
        raise InputError(f"`search` {cut(text)}: a choice stands twice")
    return Range(name, choices=values)


def _value(name: str, kind: type, part: str, text: str) -> Value:
    if name == "embedding_size" and part == "onehot":
        return 0
    if kind is bool:
        if part not in _BOOLS:
            raise InputError(f"`search` {cut(text)}: {cut(part)!r} is neither yes nor no")
        return _BOOLS[part]
    return _number(kind, part, text) if kind in (int, float) else part


_BOOLS = {"yes": True, "true": True, "no": False, "false": False}


def _numbers(name: str, kind: type, rest: str, text: str) -> Range:
    parts = [part.strip() for part in rest.split(":")]
    if kind not in (int, float):
        raise InputError(f"`search` {cut(text)}: its values are no numbers; give choices, separated by commas")
    if len(parts) not in (2, 3):
        raise InputError(f"`search` {cut(text)}: a range is LOW:HIGH, LOW:HIGH:STEP or LOW:HIGH:log")
    low, high = (_number(kind, part, text) for part in parts[:2])
    log = parts[2:] == ["log"]
    step = _number(kind, parts[2], text) if len(parts) == 3 and not log else 1 if kind is int and not log else None
    if not low < high:
        raise InputError(f"`search` {cut(text)}: {parts[0]} is not below {parts[1]}")
    if log and low <= 0:
        raise InputError(f"`search` {cut(text)}: a range with log begins above 0")
    if step is not None and not 0 < step <= high - low:
        raise InputError(f"`search` {cut(text)}: a step is above 0 and at most {high - low:g}")
    if step is not None:
        high = kind(f"{low + step * int((high - low) / step + 1e-9):.12g}")  # the last value that there is
    return Range(name, low=low, high=high, step=step, log=log, whole=kind is int)


def _number(kind: type, part: str, text: str) -> Any:
    try:
        value = kind(part)
        if math.isfinite(value):
            return value
    except (ValueError, OverflowError):
        pass
    what = "a whole number" if kind is int else "a number"
    raise InputError(f"`search` {cut(text)}: {cut(part)!r} is not {what}")
