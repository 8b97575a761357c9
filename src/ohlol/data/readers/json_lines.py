"""Lines of JSON: objects with their strings in composed form."""

import json
from typing import Any, TypeGuard, cast

from ohlol.data.lines import QUOTED, Line, Place, error_at, nfc, quote
from ohlol.utils.translation import message_id, translate

SUFFIXES = (".jsonl", ".ndjson", ".json")
DOCUMENT = message_id("; write a list of objects as lines, as jq -c '.[]' does, or give it to `ohlol.fit` in Python")
JSON_DEPTH = 16
"""Nesting depth of lists that a line may have; a sequence is one list of strings."""


def json_object(line: Line) -> dict[str, Any]:
    """The JSON object of a line, its strings in composed form; raises InputError."""
    try:
        value = json.loads(line.text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        why = error.msg if isinstance(error, json.JSONDecodeError) else translate("a value out of bounds")
        why = str(error) if isinstance(error, _DuplicateKeyError | _NotJsonNumberError) else why
        is_part = line.place.line == 1 and line.text.strip() in ("[", "{")
        advice = translate("every line must be one JSON object{document}", document=translate(DOCUMENT) * is_part)
        raise error_at(line.place, translate("not JSON ({why}); {advice}", why=why, advice=advice)) from None
    if not isinstance(value, dict):
        advice = (
            translate(", and every line must be one{document}", document=translate(DOCUMENT))
            if isinstance(value, list)
            else ""
        )
        raise error_at(
            line.place, translate("{text} is not a JSON object{advice}", text=quote(line.text), advice=advice)
        )
    entries = cast("dict[str, Any]", value)
    return {_composed(key, line.place): _composed(entry, line.place) for key, entry in entries.items()}


class _DuplicateKeyError(ValueError):
    """An object has a key twice."""


class _NotJsonNumberError(ValueError):
    """A number is NaN or infinite."""


def _refuse_constant(name: str) -> None:
    raise _NotJsonNumberError(translate("{name} is not a number of JSON; write null or leave the line out", name=name))


def _unique_keys(entries: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(entries)
    if len(unique) < len(entries):
        seen: set[str] = set()
        duplicate = next(key for key, _ in entries if key in seen or seen.add(key))
        raise _DuplicateKeyError(translate("an object has the key {duplicate} twice", duplicate=quote(duplicate)))
    return unique


def _composed(value: Any, place: Place, depth: int = JSON_DEPTH) -> Any:
    if isinstance(value, str):
        if any("\ud800" <= char <= "\udfff" for char in value):
            raise error_at(
                place,
                translate(
                    "{value} holds half a surrogate pair, which is not a character", value=ascii(value)[: QUOTED + 2]
                ),
            )
        return nfc(value)
    if isinstance(value, list):
        if not depth:
            raise error_at(
                place,
                translate(
                    "lists are nested more than {json_depth} deep; a sequence is one list of strings",
                    json_depth=JSON_DEPTH,
                ),
            )
        return [_composed(entry, place, depth - 1) for entry in cast("list[Any]", value)]
    return value


def is_strings(value: object) -> TypeGuard[list[str]]:
    """Whether a value is a list of strings."""
    return isinstance(value, list) and all(isinstance(entry, str) for entry in cast("list[object]", value))


def looks_like_json(line: Line | None, *keys: str) -> TypeGuard[Line]:
    """Whether a line is a JSON object that has these keys."""
    if line is None or not line.text.lstrip().startswith("{"):
        return False
    try:
        value = json.loads(line.text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and all(key in value for key in keys)
