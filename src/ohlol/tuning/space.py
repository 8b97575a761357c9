"""The search space of a study: settings and the range of each, given by the user or by the task.

A range is written as text: `cell=gru,lstm` are choices, `hidden_size=32:256:8` is every eighth number from 32 to 256,
`lr=1e-4:1e-2:log` is uniform in the logarithm, and a name alone, `lr`, stands for the default range of the setting.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from ohlol.cells import check_cell_name
from ohlol.config import ModelSettings, TrainSettings, check_bounds
from ohlol.tasks import TASKS
from ohlol.utils.errors import InputError, shorten
from ohlol.utils.translation import translate

Value = str | int | float | bool

SIGNIFICANT_DIGITS = 3
"""Of a number that is searched, so that the value in the output is exactly the value that was trained."""
LARGEST_INTEGER = 10**9
"""The largest integer that is searched, and number of steps of a range: far above any that is useful, and exact."""
NOT_SEARCHED = (
    "seed",
    "minutes",
    "dev_fraction",
    "checkpoint_every",
    "on_nan",
    "deterministic",
    "snapshots",
    "vectors",
    "char_lm",
)
"""Settings without influence on the model, or that change what is evaluated, so that metrics were not comparable; and
files, which have no range."""
OTHER_RANGES = (
    "bidirectional=no,yes", "char_rnn_size=32:96:8", "bigram_size=16:128:8", "batch_size=16,32,64,128",
    "bptt=32:128:16", "optimizer=adam,adamw,rmsprop", "lr_schedule=constant,cosine,plateau,onecycle",
    "max_grad_norm=0.25:4:log", "weight_decay=1e-6:1e-2:log", "label_smoothing=0:0.2:0.05",
    "locked_dropout=no,yes", "word_dropout=0:0.2:0.02", "weight_dropout=0:0.6:0.1", "weight_averaging=none,ema",
    "ema_decay=0.9,0.99,0.998,0.999", "activation_regularization=0:3:0.5",
    "temporal_activation_regularization=0:2:0.25", "unk_probability=0.05:0.7:log", "vectors_training=frozen,tuned,late",
    "pooling=last,mean,max,attention",
)  # fmt: skip
"""The default ranges of settings that are searched only where the user names them."""


@dataclass(frozen=True)
class Range:
    """The values of one setting: choices, or numbers from `low` to `high`."""

    name: str
    """The name of the setting."""
    choices: tuple[Value, ...] = ()
    low: float = 0
    high: float = 0
    step: float | None = None
    log: bool = False
    """Whether numbers are sampled uniformly in their logarithm."""
    is_integer: bool = False

    @property
    def text(self) -> str:
        """The range as `parse_range` reads it."""
        if self.choices:
            return f"{self.name}={','.join(format_value(v) for v in self.choices)}"
        has_step = self.step is not None and (self.step, self.is_integer) != (1, True)
        suffix = ":log" if self.log else f":{format_value(self.step or 0)}" if has_step else ""
        return f"{self.name}={format_value(self.low)}:{format_value(self.high)}{suffix}"

    @property
    def values(self) -> tuple[Value, ...] | None:
        """All values in order; None where the range is continuous."""
        if self.choices:
            return self.choices
        if not self.is_integer and self.step is None:
            return None
        step = self.step or 1
        count = int((self.high - self.low) / step + 1e-9) + 1
        return tuple(self.round(self.low + i * step) for i in range(count))

    def round(self, value: Value) -> Value:
        """A value as it is trained and shown: floats have `SIGNIFICANT_DIGITS`."""
        if self.choices:
            return value
        return int(value) if self.is_integer else float(f"{float(value):.{SIGNIFICANT_DIGITS}g}")

    def to_unit(self, value: float) -> float:
        """The position of a number between `low` and `high`, in [0, 1]; with `log` that of its logarithm."""
        low, high, at = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return (at - low) / (high - low)

    def from_unit(self, position: float) -> Value:
        """The number at a position in [0, 1]; the inverse of `to_unit`."""
        low, high = (math.log(v) if self.log else v for v in (self.low, self.high))
        value = low + position * (high - low)
        return self.round(round(math.exp(value) if self.log else value, None if self.is_integer else 12))

    def nearest(self, value: Value) -> Value:
        """The value of this range that is nearest to another; the first choice where that is not one of the choices."""
        if self.choices:
            return value if value in self.choices else self.choices[0]
        number = min(max(float(value), self.low), self.high)
        if self.step is not None:
            number = self.low + self.step * round((number - self.low) / self.step)
            number -= self.step * (number > self.high + 1e-9)
        return int(number) if self.is_integer else number


@dataclass(frozen=True)
class Space:
    """The settings that are searched, and their ranges."""

    ranges: tuple[Range, ...]

    @property
    def texts(self) -> dict[str, str]:
        """The text of each range, by the name of its setting."""
        return {r.name: r.text for r in self.ranges}

    @property
    def size(self) -> int | None:
        """The number of different settings; None where a range is continuous."""
        values = [r.values for r in self.ranges]
        return None if None in values else math.prod(len(v) for v in values if v is not None)

    def round(self, values: dict[str, Any]) -> dict[str, Value]:
        """Values as they are trained and shown."""
        return {r.name: r.round(values[r.name]) for r in self.ranges if r.name in values}

    def nearest(self, values: dict[str, Any]) -> dict[str, Value]:
        """The settings of this space that are nearest to others, which are given by name."""
        return {r.name: r.nearest(values[r.name]) for r in self.ranges}

    def enumerate(self) -> Iterator[dict[str, Value]]:
        """All settings in order; none where a range is continuous."""
        values = [r.values or () for r in self.ranges]
        return (dict(zip(self.texts, chosen, strict=True)) for chosen in itertools.product(*values))


def build_space(search: Sequence[str], fixed: dict[str, Any], task: str, level: str) -> Space:
    """The space that the user asked for, or the default one of the task.

    Args:
        search: ranges, or names of settings that have a default range; empty for the default space.
        fixed: settings of model and training with one value in all trials, which are not searched.
        task: the task, which has a default space.
        level: what a symbol is.

    Raises:
        InputError: a range cannot be parsed, occurs twice, is of a setting that is fixed or is not searched, or has
            values out of bounds; or nothing is left to search.
    """
    defaults = TASKS.select(task).search_space(level)
    known = {r.name: r for r in map(parse_range, (*defaults, *OTHER_RANGES))}
    is_loop = bool(fixed.get("loop"))  # a cell in a loop has one layer
    ranges = (
        [parse_range(text, known) for text in search]
        if search
        else [known[r.name] for r in map(parse_range, defaults) if not (is_loop and r.name == "num_layers")]
    )
    names = [r.name for r in ranges]
    for r in ranges:
        if names.count(r.name) > 1:
            raise InputError("`search` has `{name}` twice", name=r.name)
        if search and r.name in fixed:
            raise InputError(
                "`{name}` is {value} in all trials, so it cannot be searched; leave it out of `search`",
                name=r.name,
                value=format_value(fixed[r.name]),
            )
    ranges = [r for r in ranges if r.name not in fixed]
    if not ranges:
        raise InputError("all settings are fixed, so nothing is left to search; leave out one, or give `search`")
    order = [f.name for kind in _DEFAULTS for f in fields(kind)]
    return Space(tuple(sorted(ranges, key=lambda r: order.index(r.name))))


def parse_range(text: str, known: dict[str, Range] | None = None) -> Range:
    """Parse a range.

    Args:
        text: the range, or the name of a setting.
        known: the default range of each setting that may be given by name alone.

    Raises:
        InputError: it is not a range, or its values are out of bounds.

    >>> parse_range("hidden_size=32:256:8").values[:3], parse_range("cell=gru,lstm").choices
    ((32, 40, 48), ('gru', 'lstm'))
    """
    stated, separator, rest = text.strip().removeprefix("--").partition("=")
    name = stated.strip().replace("-", "_")
    owner = _owner(name, *_DEFAULTS)
    if owner is None or name in NOT_SEARCHED:
        names = ", ".join(f.name for kind in _DEFAULTS for f in fields(kind) if f.name not in NOT_SEARCHED)
        raise _error(
            text,
            translate(
                "{stated!r} is not a setting that can be searched; there are {names}",
                stated=shorten(stated),
                names=names,
            ),
        )
    if not separator:
        if known is None or name not in known:
            raise InputError("`search` {name}: it has no default range; give {name}=LOW:HIGH or {name}=A,B", name=name)
        return known[name]
    kind = type(getattr(owner, name))
    has_numbers = ":" in rest and name != "cell"  # in the name of a cell it is part of package.module:Class
    parsed = _parse_numbers(name, kind, rest, text) if has_numbers else _parse_choices(name, kind, rest, text)
    for value in parsed.choices or (parsed.low, parsed.high):
        try:
            check_bounds(*(replace(d, **{name: value}) if d is owner else d for d in _DEFAULTS))  # pyright: ignore[reportArgumentType]
            if name == "cell":
                check_cell_name(str(value))
        except InputError as error:
            raise _error(text, str(error)) from None
    if name == "unk_probability" and 0 in (parsed.choices or (parsed.low,)):
        raise _error(
            text, translate("without <unk> other symbols are evaluated, so metrics were not comparable; start above 0")
        )
    return parsed


def format_value(value: Value) -> str:
    """A value as `parse_range` reads it.

    >>> format_value(True), format_value(0.003), format_value("gru")
    ('yes', '0.003', 'gru')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return repr(value) if isinstance(value, float) and float(short) != value else short


_DEFAULTS = (ModelSettings(), TrainSettings())


def _error(text: str, message: str) -> InputError:
    return InputError("`search` {text}: {message}", text=shorten(text), message=message)


def _owner(name: str, model: ModelSettings, training: TrainSettings) -> Any:
    return next((kind for kind in (model, training) if name in {f.name for f in fields(kind)}), None)


def _parse_choices(name: str, kind: type, rest: str, text: str) -> Range:
    values = tuple(_parse_value(name, kind, part.strip(), text) for part in rest.split(","))
    if len(set(values)) < len(values):
        raise _error(text, translate("a choice occurs twice"))
    return Range(name, choices=values)


def _parse_value(name: str, kind: type, part: str, text: str) -> Value:
    if name == "embedding_size" and part == "onehot":
        return 0
    if kind is bool:
        if part not in _BOOLS:
            raise _error(text, translate("{part!r} is neither yes nor no", part=shorten(part)))
        return _BOOLS[part]
    return _parse_number(kind, part, text) if kind in (int, float) else part


_BOOLS = {"yes": True, "true": True, "no": False, "false": False}


def _parse_numbers(name: str, kind: type, rest: str, text: str) -> Range:
    parts = [part.strip() for part in rest.split(":")]
    if kind not in (int, float):
        raise _error(text, translate("its values are not numbers; give choices, separated by commas"))
    if len(parts) not in (2, 3):
        raise _error(text, translate("a range is LOW:HIGH, LOW:HIGH:STEP or LOW:HIGH:log"))
    low, high = (_parse_number(kind, part, text) for part in parts[:2])
    log = parts[2:] == ["log"]
    step = 1 if kind is int and not log else None
    if len(parts) == 3 and not log:
        step = _parse_number(kind, parts[2], text)
    if not low < high:
        raise _error(text, translate("{low} is not below {high}", low=parts[0], high=parts[1]))
    if log and low <= 0:
        raise _error(text, translate("a range with log starts above 0"))
    if step is not None and not 0 < step <= high - low:
        raise _error(text, translate("the step must be above 0 and at most {high:g}", high=high - low))
    if step is not None and (high - low) / step > LARGEST_INTEGER:
        raise _error(
            text,
            translate(
                "the step is too small; a range has at most {largest_integer:,} values", largest_integer=LARGEST_INTEGER
            ),
        )
    if step is not None:
        high = kind(f"{low + step * int((high - low) / step + 1e-9):.12g}")  # the last value of the range
    return Range(name, low=low, high=high, step=step, log=log, is_integer=kind is int)


def _parse_number(kind: type, part: str, text: str) -> Any:
    try:
        value = kind(part)
        if math.isfinite(value):
            if kind is int and abs(value) > LARGEST_INTEGER:
                raise _error(
                    text,
                    translate(
                        "{part} is too large; integers are at most {largest_integer:,}",
                        part=shorten(part),
                        largest_integer=LARGEST_INTEGER,
                    ),
                )
            return value
    except (ValueError, OverflowError):
        pass
    raise _error(
        text, translate("{part!r} is not an integer" if kind is int else "{part!r} is not a number", part=shorten(part))
    )
