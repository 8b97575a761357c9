"""The parts of a panel: what is trained on, and what is set apart."""

import numpy as np
import pytest

from data.test_panel_codec import make_panel
from ohlol.data.panel_dataset import encode_panel, encode_panel_parts


def test_no_row_that_is_set_apart_is_a_target_of_training():
    panel = make_panel()
    codec, train, dev = encode_panel_parts(panel, 5, 0.2, context=20)
    assert dev is not None
    held = [12, 10]
    for i, series in enumerate(panel.series):
        T = len(series.values)
        inputs, targets = (
            values[train.inputs.offsets[i] : train.inputs.offsets[i + 1]]
            for values in (train.inputs.values, train.targets)
        )
        assert len(inputs) == T - held[i] - 1
        assert np.isfinite(targets).sum() == sum(min(5, T - held[i] - 1 - t) for t in range(7, T - held[i] - 1))
        targets = dev.targets[dev.inputs.offsets[i] : dev.inputs.offsets[i + 1]]
        assert np.isfinite(targets).sum() == sum(min(5, held[i] - k) for k in range(held[i]))
        whole = codec.encode(series, T - held[i])
        first = T - held[i] - 1
        assert np.array_equal(targets[-held[i] :], whole.targets[first : T - 1], equal_nan=True)


@pytest.mark.parametrize("fraction", [0.0, 0.1])
def test_a_short_series_is_trained_on_whole(fraction: float):
    panel = make_panel()
    short = type(panel)(
        tuple(s.__class__(s.name, s.values[:17], s.start) for s in panel.series), panel.columns, panel.step, 7
    )
    _, train, dev = encode_panel_parts(short, 5, fraction, context=20)
    assert dev is None
    assert train.steps == 2 * 16


def test_all_rows_of_a_panel_are_measured_after_the_first_season():
    panel = make_panel()
    codec, _, _ = encode_panel_parts(panel, 5, 0.0, context=20)
    data = encode_panel(codec, panel)
    assert data.targets is not None
    assert np.isnan(data.targets[:7]).all()
    assert np.isfinite(data.targets[7]).all()
