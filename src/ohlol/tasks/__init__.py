"""Tasks: what should come out of a sequence, and how good it is; one module a task."""

from ohlol.data.targets import TARGETS, Targets

TARGETS.add("label", Targets())
TARGETS.add("next", Targets(shifted=True))
TARGETS.add("classify", Targets(per_sequence=True))
TARGETS.add("forecast", Targets(shifted=True, numeric=True))
