"""What the benchmarks share: timing functions in turns, and the option `--quick`."""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any


def parse_arguments(parser: argparse.ArgumentParser, **quick: Any) -> argparse.Namespace:
    """Parse the command line; with `--quick` the defaults are those in `quick`."""
    parser.add_argument(
        "--quick", action="store_true", help="small sizes and few rounds: a check that the benchmark runs, no figures"
    )
    if "--quick" in sys.argv[1:]:
        parser.set_defaults(**quick)
    return parser.parse_args()


def time_in_turns(rounds: int, *functions: Callable[[], object]) -> list[float]:
    """The median seconds of each function, called in turns after one round that is not counted."""
    seconds: list[list[float]] = [[] for _ in functions]
    for round_number in range(rounds + 1):
        for function, measured in zip(functions, seconds, strict=True):
            started = time.perf_counter()
            function()
            if round_number:
                measured.append(time.perf_counter() - started)
    return [statistics.median(measured) for measured in seconds]
