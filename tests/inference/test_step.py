"""The output of a step: labels or rows, according to the model, and no excluded label."""

import pytest
import torch
from untrained import untrained

from ohlol.inference.step import decode, excluded_label
from ohlol.models.heads import HEADS
from ohlol.utils.errors import InputError


def test_reading_numbers_from_a_label_model_is_refused() -> None:
    step = untrained("label").stream().step("a")
    with pytest.raises(InputError, match="a model of task label predicts labels, not numbers: use `label`"):
        _ = step.row
    assert repr(step).startswith(f"StreamOutput(label={step.label!r}, probability=0.")


def test_a_step_of_numbers_has_no_label() -> None:
    step = untrained("next_row").stream().step([1, 2, 3])
    for read in (lambda: step.label, lambda: step.best(), lambda: step.probabilities):
        with pytest.raises(InputError, match="a model of task next_row predicts numbers, not labels: use `row`"):
            read()
    assert repr(step).startswith("StreamOutput(row=[")


def test_the_best_labels_begin_with_the_label() -> None:
    step = untrained("next").stream().step("a")
    assert step.best(1) == [(step.label, pytest.approx(step.probability))]
    assert "<unk>" not in [label for label, _ in step.best(99)]


def test_unk_is_excluded_for_task_next_only() -> None:
    assert excluded_label(untrained("next").codec) == 0
    assert excluded_label(untrained("label").codec) is None
    assert excluded_label(untrained("next", unknowns=False).codec) is None


def test_decode_skips_the_excluded_label() -> None:
    logits = torch.tensor([[3.0, 2.0, 1.0], [0.0, 0.0, 5.0]])
    head = HEADS["softmax"](4, 3)
    assert decode(head, logits, None) == [0, 2]
    assert decode(head, logits, 0) == [1, 2]
    assert logits[0, 0] == 3  # unchanged
    assert decode(HEADS["regression"](4, 3), logits, None) == [0, 0]
