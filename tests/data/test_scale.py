"""The scale of columns: numbers and files come back, and damaged files are refused."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohlol.data.counts import Moments
from ohlol.data.scale import Scale


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20))
def test_scaling_round_trip(column: list[float]) -> None:
    rows = np.array(column)[:, None]
    scale = Scale.of(Moments.of(rows))
    # the scaled numbers are float32, so what is lost is a share of the column's range
    spread = float(np.abs(rows).max())
    np.testing.assert_allclose(scale.undo(scale.apply(rows)), rows, rtol=1e-5, atol=1e-5 * spread + 1e-12)


def test_a_constant_column_is_not_scaled() -> None:
    assert Scale.of(Moments.of(np.full((4, 1), 3.0))) == Scale((3.0,), (1.0,))


def test_json_is_read_back() -> None:
    scale = Scale((1.5, -2.0), (3.0, 0.1))
    columns = scale.to_json(("a", "b"))
    assert [column["name"] for column in columns] == ["a", "b"]
    assert Scale.from_json(columns) == scale


@pytest.mark.parametrize("changed", [{"mean": float("nan")}, {"std": 0.0}, {"std": -1.0}, {"std": float("inf")}])
def test_numbers_out_of_range_are_refused(changed: dict[str, Any]) -> None:
    columns = [{"name": "a", "mean": 0.0, "std": 1.0} | changed]
    with pytest.raises(ValueError, match="out of range"):
        Scale.from_json(columns)
