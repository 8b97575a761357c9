"""Every registered task has targets, a suitable head and valid defaults."""

import pytest

from ohlol.config import check_bounds
from ohlol.data.targets import TARGET_KINDS
from ohlol.models.heads import HEADS
from ohlol.tasks import TASKS
from ohlol.tasks.base import register


@pytest.mark.parametrize("name", TASKS)
def test_registered_tasks_are_complete(name: str) -> None:
    task = TASKS[name]
    assert task.name == name
    assert TARGET_KINDS[name] is task.targets
    assert HEADS[task.head].numeric == task.targets.has_numbers
    assert HEADS[task.head].multiple == task.targets.multiple
    for level in ("char", "word"):
        model, training = task.defaults(level)
        check_bounds(model, training)
        assert model.head == task.head
    assert "{run}" in task.usage


def test_a_name_is_registered_once() -> None:
    from dataclasses import replace

    with pytest.raises(ValueError, match="'label' is registered already"):
        register(replace(TASKS["label"], usage="ohlol predict {run}"))
