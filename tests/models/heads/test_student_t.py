"""The quantile function of the t distribution against scipy, and the degrees of freedom that the head begins with."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ohlol.models.heads import HEADS
from ohlol.models.heads.student_t import student_quantiles


@given(st.floats(2.0001, 1e6), st.floats(-6, 6))
def test_quantiles_of_the_t_distribution(df: float, score: float) -> None:
    expected = np.sign(score) * stats.t.isf(stats.norm.sf(abs(score)), df)
    found = float(student_quantiles(torch.tensor(score, dtype=torch.float64), torch.tensor(df, dtype=torch.float64)))
    # the absolute bound is for scores near 0, where the series of Hill loses digits: a ten millionth of the scale
    assert found == pytest.approx(expected, rel=1e-5 if df > 3 else 2e-3, abs=1e-7)


@pytest.mark.parametrize("df", [2.5, 5.0, 30.0])
def test_the_head_begins_with_tails_as_heavy_as_those_of_the_residuals(df: float) -> None:
    residuals = stats.t(df).ppf((np.arange(20_000) + 0.5) / 20_000)
    head = HEADS["student_t"](1, 1)
    head.start_from(torch.tensor(residuals, dtype=torch.float32).unsqueeze(1), torch.zeros(1))
    distribution = head.distribution(head(torch.zeros(1, 1)))
    assert distribution.df.item() == pytest.approx(df, rel=1e-3)
    assert distribution.scale.item() == pytest.approx(1.0, rel=0.02)
