"""The metrics of classes equal those of scikit-learn."""

import pytest
from counting import count
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd")), min_size=1, max_size=40))
def test_metrics_equal_sklearn(pairs: list[tuple[str, str]]) -> None:
    targets, predictions = ([pair[side] for pair in pairs] for side in (0, 1))
    accumulator = count("classify", [(targets, predictions)], tuple("abcdef"))
    metrics = accumulator.metrics()
    assert metrics["accuracy"] == pytest.approx(accuracy_score(targets, predictions))
    assert metrics["macro_f1"] == pytest.approx(f1_score(targets, predictions, average="macro", zero_division=0))
    assert accumulator.main_metric == "accuracy"
