"""The columns of a panel and the cells of its rows."""

import numpy as np
import pytest

from data.reading import WAVE, Write, days, panel_of, table_of


def test_true_and_false_are_numbers_of_covariates(write: Write) -> None:
    path = write("a.csv", table_of("date,y,open", days(12), WAVE, ["TRUE", "False"] * 6))
    panel = panel_of(path, target="y", known="open").panel
    assert panel.series[0].values[:, 1].tolist() == [1, 0] * 6


@pytest.mark.parametrize("word", ["..", ":", "–", "<NA>", "\\N", "NaT", "#DIV/0!", "k.A."])
def test_words_for_a_missing_value(write: Write, word: str) -> None:
    panel = panel_of(write("a.csv", table_of("date,y", days(12), [3, word, *WAVE[2:]]))).panel
    assert np.isnan(panel.series[0].values[:, 0]).tolist() == [False, True, *[False] * 10]
