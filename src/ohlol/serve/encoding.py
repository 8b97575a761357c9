"""JSON and server-sent events as text."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, NoReturn

MAX_ERROR = 480
"""Characters of an error, which are at most 2,000 bytes or so of UTF-8."""


def dump_json(content: object) -> str:
    """Compact JSON that UTF-8 can encode: a lone surrogate is written as an escape; NaN and infinity are errors."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def format_event(content: object, name: str | None = None) -> str:
    """One server-sent event with JSON as its data."""
    return (f"event: {name}\n" if name else "") + f"data: {dump_json(content)}\n\n"


def parse_json(text: str | bytes) -> Any:
    """Parse JSON in UTF-8, without what Python's parser adds to the standard.

    NaN and infinity are not valid, nor is an object that has a member twice: two readers might use different ones.

    Raises:
        json.JSONDecodeError: it is not valid JSON.

    >>> parse_json('{"a": 1, "a": 2}')
    Traceback (most recent call last):
    json.decoder.JSONDecodeError: the member 'a' occurs twice: line 1 column 1 (char 0)
    """
    try:
        text = text if isinstance(text, str) else str(text, "utf-8")
        return json.loads(text, object_pairs_hook=_to_dict, parse_constant=_refuse_constant)
    except json.JSONDecodeError:
        raise
    except RecursionError:
        raise json.JSONDecodeError("nested too deeply", "", 0) from None
    except ValueError as error:  # bytes that are not text, a member that occurs twice, an integer of 5,000 digits
        raise json.JSONDecodeError(str(error)[:100], "", 0) from None


def _to_dict(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise ValueError(f"the member {twice[:40]!r} occurs twice")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")
