"""Lines of JSON."""

import pytest

from data.reading import Write
from ohlol.data.lines import Lines
from ohlol.data.readers import json_lines
from ohlol.utils.errors import InputError


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[1]", "is not a JSON object"),
        ('{"a": 1, "a": 2}', "an object has the key 'a' twice"),
        ('{"a": NaN}', "NaN is not a number of JSON; write null"),
        ('{"a": [1, -Infinity]}', "-Infinity is not a number of JSON"),
        ('{"a": "\\ud800"}', "holds half a surrogate pair, which is not a character"),
        ('{"a": ' + "[" * 20 + "]" * 20 + "}", "lists are nested more than 16 deep"),
    ],
)
def test_invalid_lines_are_refused(write: Write, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        json_lines.json_object(next(Lines(write("a.jsonl", text))))
    assert "a.jsonl:1: " in str(caught.value)


def test_strings_are_normalized(write: Write) -> None:
    line = next(Lines(write("a.jsonl", '{"e\u0301": ["e\u0301", 1], "b": {"c": null}}')))
    assert json_lines.json_object(line) == {"é": ["é", 1], "b": {"c": None}}
    assert json_lines.looks_like_json(line, "b")
    assert not json_lines.looks_like_json(line, "x")
