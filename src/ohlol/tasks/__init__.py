"""Tasks: the expected labels or numbers of a sequence, and the metrics of predictions; one module a task."""

from ohlol.tasks import classify, forecast, label, multilabel, next_row, regress
from ohlol.tasks import next as next_
from ohlol.tasks.base import TASKS, Task, register

__all__ = ["TASKS", "Task", "classify", "forecast", "label", "multilabel", "next_", "next_row", "register", "regress"]
