"""Language models over characters whose states a model reads at each word, as its codec lists them."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ohlol.config import MAX_SIZE
from ohlol.utils.errors import InputError

FOLDER = "char_lm"
"""The folder in a run directory that has a run directory for each language model."""
IDENTITY = re.compile("[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True)
class CharLM:
    """A language model over characters."""

    reversed: bool
    """Whether it reads a text from its end to its beginning."""
    size: int
    """The size of its output at each character."""
    identity: str
    """The identity of the model, of which its weights and its vocabulary are part."""
    folder: Path | None = field(default=None, compare=False)
    """The run directory that has its weights; None until it is known."""

    @property
    def name(self) -> str:
        """Its direction, which is the name of its folder in `FOLDER`."""
        return "backward" if self.reversed else "forward"

    def to_json(self) -> dict[str, Any]:
        """What identifies the language model, as JSON data."""
        return {"reversed": self.reversed, "size": self.size, "identity": self.identity}

    @staticmethod
    def from_json(data: Any) -> "CharLM":
        """The inverse of `to_json`.

        Raises:
            KeyError, TypeError, ValueError: not what `to_json` writes.
        """
        is_reversed, size, identity = data["reversed"], data["size"], data["identity"]
        if not isinstance(is_reversed, bool):
            raise TypeError('"reversed" of a language model is neither true nor false')
        if type(size) is not int or not 1 <= size <= MAX_SIZE or not IDENTITY.fullmatch(identity):
            raise ValueError("the size or the identity of a language model is out of range")
        return CharLM(is_reversed, size, identity)


def check_directions(models: tuple[CharLM, ...]) -> tuple[CharLM, ...]:
    """The language models, the forward one first; raises InputError where two have the same direction."""
    if len({lm.reversed for lm in models}) < len(models):
        raise InputError(
            "`char_lm` names {count} language models, of which two read {direction}; give at most one that "
            "reads forward and one that was trained with `reversed`",
            count=len(models),
            direction=models[0].name,
        )
    return tuple(sorted(models, key=lambda lm: lm.reversed))
