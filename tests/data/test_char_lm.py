"""What a codec lists of the language models that a model reads."""

import json
from pathlib import Path
from typing import Any

import pytest

from ohlol.data.char_lm import CharLM, check_directions
from ohlol.utils.errors import InputError

FORWARD, BACKWARD = CharLM(False, 8, "0" * 64, Path("f")), CharLM(True, 6, "1" * 64)


def test_a_language_model_is_the_same_wherever_it_lies() -> None:
    again = CharLM.from_json(json.loads(json.dumps(FORWARD.to_json())))
    assert again == FORWARD
    assert again.folder is None
    assert (FORWARD.name, BACKWARD.name) == ("forward", "backward")


@pytest.mark.parametrize(
    "change", [{"reversed": 1}, {"size": 0}, {"size": True}, {"size": "8"}, {"identity": "0"}, {"identity": 3}]
)
def test_a_damaged_entry_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        CharLM.from_json(FORWARD.to_json() | change)
    with pytest.raises(KeyError):
        CharLM.from_json({name: value for name, value in FORWARD.to_json().items() if name not in change})


def test_the_forward_model_is_the_first_and_there_is_one_of_each() -> None:
    assert check_directions((BACKWARD, FORWARD)) == (FORWARD, BACKWARD)
    assert check_directions((BACKWARD,)) == (BACKWARD,)
    assert check_directions(()) == ()
    with pytest.raises(InputError, match="`char_lm` names 2 language models, of which two read backward"):
        check_directions((BACKWARD, BACKWARD))
