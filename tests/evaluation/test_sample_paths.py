"""Sample paths: their rows as lists and data frames."""

import numpy as np
import pytest
from forecasts import START

from ohlol.evaluation.sample_paths import Paths, SamplePaths


def paths(*names: str, columns: tuple[str, ...] = ("y",), timed: bool = True) -> SamplePaths:
    """Two paths of three steps of each series."""
    times = START + np.arange(3) * np.timedelta64(1, "D") if timed else None
    values = np.arange(6.0 * len(columns)).reshape(2, 3, -1)
    return SamplePaths(Paths(name, columns, times, values) for name in names)


def test_rows_have_series_path_and_time() -> None:
    rows = paths("a", "b").to_rows()
    assert len(rows) == 12
    assert rows[4] == {"series": "a", "path": 2, "time": "2024-01-02", "y": 4.0}
    assert [row["series"] for row in rows[::6]] == ["a", "b"]


def test_rows_that_are_counted_have_steps_and_names_are_not_repeated() -> None:
    rows = paths("", columns=("path", "step"), timed=False).to_rows()
    assert rows[4] == {"path_": 2, "step_": 2, "path": 8.0, "step": 9.0}
    assert SamplePaths().to_rows() == []


@pytest.mark.parametrize("backend", ["pandas", "polars", "pyarrow"])
def test_frames_have_the_same_columns(backend: str) -> None:
    pytest.importorskip(backend)
    import narwhals

    made = paths("a", "b", columns=("y", "z"))
    frame = narwhals.from_native(made.to_frame(backend=backend), eager_only=True)
    assert frame.columns == list(made.to_rows()[0])
    assert frame["time"].dtype == narwhals.Datetime
    assert frame["z"].to_list() == [1, 3, 5, 7, 9, 11] * 2
