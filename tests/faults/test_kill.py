"""A run killed repeatedly with signal 9 at random moments ends with the same bytes as one that was not."""

import os
import random
from pathlib import Path

import pytest
from runs import EVERY, RUNS, train_uninterrupted, train_with_kills

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("OHLOL_KILLS", "25"))
"""In all; `make faults` asks for 200."""
SHARE = {kind: KILLS // len(RUNS) + (index < KILLS % len(RUNS)) for index, kind in enumerate(RUNS)}
IN_A_ROW = 9
"""Kills of one run, at most, before it may end."""


@pytest.mark.parametrize("kind", RUNS)
def test_a_killed_run_ends_with_the_same_bytes(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(f"{KILLS} {kind}")
    left, made, restarts, number = SHARE[kind], 0, 0, 0
    while left:
        folder, every = tmp_path / str(number), EVERY[number % len(EVERY)]
        seconds = train_uninterrupted(folder / "whole", kind, every)
        found = train_with_kills(folder, kind, every, min(left, IN_A_ROW), seconds, chance)
        assert found.differing == (), f"after {found.kills} kills with --checkpoint-every {every}"
        left, made, restarts, number = left - found.kills, made + found.kills, restarts + found.restarts, number + 1
    assert made == SHARE[kind]
    with capsys.disabled():
        print(f"{kind}: killed {made} times, {number} runs, {restarts} started anew, all ended in the same bytes")
