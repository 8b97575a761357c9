"""The kinds of targets of the built-in tasks."""

from ohlol.data.targets import TARGET_KINDS, TargetKind


def test_each_task_has_its_kind_of_targets() -> None:
    assert {name: TARGET_KINDS[name] for name in ("label", "next", "classify", "forecast", "next_row")} == {
        "label": TargetKind(),
        "next": TargetKind(shifted=True),
        "classify": TargetKind(per_sequence=True),
        "forecast": TargetKind(numeric=True, horizon=True),
        "next_row": TargetKind(shifted=True, numeric=True),
    }


def test_labels_and_continued_texts() -> None:
    assert TargetKind().has_labels
    assert TargetKind(per_sequence=True).has_labels
    assert not TargetKind(shifted=True).has_labels
    assert TargetKind(shifted=True).continues_text
    assert not TargetKind(shifted=True, numeric=True).continues_text
