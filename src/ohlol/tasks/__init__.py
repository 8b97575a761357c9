"""Tasks: what should come out of a sequence, and how good an answer is; one module a task."""

from ohlol.tasks import classify, forecast, label
from ohlol.tasks import next as next_
from ohlol.tasks.base import TASKS, Task, register

__all__ = ["TASKS", "Task", "classify", "forecast", "label", "next_", "register"]
