"""The kinds of targets of the built-in tasks."""

from ohlol.data.targets import TARGETS, Targets


def test_kinds_of_the_tasks() -> None:
    assert {name: TARGETS[name] for name in ("label", "next", "classify", "forecast")} == {
        "label": Targets(),
        "next": Targets(shifted=True),
        "classify": Targets(per_sequence=True),
        "forecast": Targets(shifted=True, numeric=True),
    }


def test_labels_and_continued_texts() -> None:
    assert Targets().are_labels
    assert Targets(per_sequence=True).are_labels
    assert not Targets(shifted=True).are_labels
    assert Targets(shifted=True).continue_text
    assert not Targets(shifted=True, numeric=True).continue_text
