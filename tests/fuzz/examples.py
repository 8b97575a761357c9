"""The number of examples of a test: a few that are always the same, or `OHLOL_FUZZ` that are new in each run."""

import os

from hypothesis import HealthCheck, settings

EXAMPLES = int(os.environ.get("OHLOL_FUZZ", "0"))
"""Examples of each test in the long form, `make fuzz`."""


def fuzz(examples: int) -> settings:
    """The settings of a test that has this number of examples in the short form."""
    return settings(
        max_examples=EXAMPLES or examples,
        derandomize=not EXAMPLES,
        print_blob=bool(EXAMPLES),
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
