"""A codec that is grown from another one: its symbols, labels and scales, and that growing it again changes nothing."""

import numpy as np
import pytest

from ohlol.config import DataSettings
from ohlol.data.codec import Codec
from ohlol.data.codec_fitting import fit_codec
from ohlol.data.codec_growth import grow_codec, has_same_targets
from ohlol.data.lines import Place
from ohlol.data.pairs import data_from_pairs
from ohlol.data.raw_data import RawData
from ohlol.utils.errors import InputError

WORDS = DataSettings(task="label", format="conll", level="word")


def words(*sentences: str) -> RawData:
    """Words, each labelled by its last letter."""
    inputs = [sentence.split() for sentence in sentences]
    labels = [[word[-1] for word in sentence] for sentence in inputs]
    return RawData("label", WORDS, inputs, labels, [Place("data", i) for i in range(len(inputs))])


def fit(data: RawData) -> Codec:
    return fit_codec(data, unknowns=True, with_chars=True)


OLD, NEW = fit(words("bat cow dot", "bat dot")), fit(words("ant cow", "bat", "cow cow"))


def test_every_symbol_of_both_has_an_id() -> None:
    grown = grow_codec(NEW, OLD)
    assert grown.symbols is not None
    assert grown.chars is not None
    assert grown.symbols.symbols == ("<unk>", "ant", "bat", "cow", "dot")
    assert grown.symbols.counts == (0, 1, 2, 3, 2)
    assert grown.chars.symbols == ("<unk>", *"abcdnotw")
    assert grow_codec(NEW, grown) == grown
    assert grow_codec(fit(words("cow")), grown).symbols.symbols == grown.symbols.symbols  # type: ignore[union-attr]


def test_labels_are_those_of_the_start_where_it_has_them_all() -> None:
    part = grow_codec(fit(words("bat bat")), OLD)
    assert part.labels is not None
    assert (part.labels.symbols, part.labels.counts) == (("t", "w"), (2, 0))
    assert has_same_targets(part, OLD)
    more = grow_codec(fit(words("bat sun")), OLD)
    assert more.labels is not None
    assert more.labels.symbols == ("n", "t")
    assert not has_same_targets(more, OLD)


def test_a_codec_with_an_unknown_symbol_grows_from_one_without() -> None:
    old = fit_codec(data_from_pairs([("ab", "xy")]), unknowns=False)
    grown = grow_codec(fit_codec(data_from_pairs([("cb", "xy")]), unknowns=True), old)
    assert grown.symbols is not None
    assert grown.symbols.symbols == ("<unk>", "a", "b", "c")
    without = grow_codec(fit_codec(data_from_pairs([("cb", "xy")]), unknowns=False), grown)
    assert without.symbols is not None
    assert without.symbols.unk == 0


def test_numbers_are_scaled_as_those_of_the_start() -> None:
    settings = DataSettings(task="next_row", format="series")

    def rows(factor: float, *columns: str) -> Codec:
        values = factor * np.arange(12.0).reshape(6, 2) ** 2
        return fit_codec(
            RawData("next_row", settings, [values], [values[:, :1]], [Place("f", 1)], columns, ("a",)), unknowns=False
        )

    grown = grow_codec(rows(3, "a", "b"), rows(1, "a", "b"))
    assert grown == rows(1, "a", "b")
    with pytest.raises(InputError, match="names a run whose input columns are a, c, and those of the data are a, b"):
        grow_codec(rows(1, "a", "b"), rows(1, "a", "c"))
    with pytest.raises(InputError, match="names a run that reads symbols, and the data are rows of numbers"):
        grow_codec(rows(1, "a", "b"), OLD)
