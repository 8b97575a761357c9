"""Pairs of an input and a target that are given as values, in the place of a file."""

from collections.abc import Sequence
from typing import Any, cast

from ohlol.config import DataSettings
from ohlol.data.lines import Example, Place, nfc
from ohlol.data.raw_data import RawData, data_from_examples
from ohlol.data.readers.base import default_reader, default_task
from ohlol.data.readers.pairs import check_pair
from ohlol.data.symbols import Symbols, split_text
from ohlol.data.targets import TargetKind
from ohlol.utils.errors import InputError
from ohlol.utils.files import check_encodable
from ohlol.utils.translation import translate


def data_from_pairs(pairs: Sequence[tuple[str | Sequence[str], str | Sequence[str]]]) -> RawData:
    """The data of pairs: strings for characters, or lists of words.

    Raises:
        InputError: the sides of a pair differ in length or type; the message gives the number of the pair.
    """
    examples: list[Example] = []
    level = "char" if pairs and isinstance(pairs[0][0], str) else "word"
    for i, pair in enumerate(pairs, 1):
        if len(pair) != 2:
            raise InputError("pair {i}: {count} sides; a pair is an input and a target", i=i, count=len(pair))
        sides = [_check_side(side, i, level) for side in pair]
        try:
            examples.append(check_pair(Place("pair", i), sides[0], sides[1], level))
        except InputError as error:
            raise InputError(str(error).replace(f"pair:{i}", translate("pair {number}", number=i), 1)) from None
    if not examples:
        raise InputError("no pairs; give one at least")
    task = default_task(TargetKind())
    settings = DataSettings(task=task, format=default_reader(task).name, level=level)
    return data_from_examples(examples, settings, with_targets=True)


def _check_side(side: Any, pair: int, level: str) -> Symbols:
    if not isinstance(side, str | Sequence):
        raise InputError(
            "pair {pair}: a side of type {type}; give a string or a list of strings",
            pair=pair,
            type=type(side).__name__,
        )
    if isinstance(side, str) == (level == "word"):
        raise InputError(
            "pair {pair}: strings and lists do not mix; give every side as a string"
            if level == "char"
            else "pair {pair}: strings and lists do not mix; give every side as a list",
            pair=pair,
        )
    if isinstance(side, str):
        return split_text(side, DataSettings(level=level)) if side else side
    words = list(cast("Sequence[Any]", side))
    if not all(isinstance(word, str) for word in words):
        raise InputError("pair {pair}: a list must hold strings", pair=pair)
    try:
        check_encodable(words)
    except ValueError as error:
        raise InputError("pair {pair}: {error}", pair=pair, error=error) from None
    return [nfc(word) for word in words]
