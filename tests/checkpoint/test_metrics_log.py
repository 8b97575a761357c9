"""The metrics log: appending, truncating after a saved state, and reading."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from ohlol.checkpoint.metrics_log import METRICS_FILE, MetricsLog, read_metrics
from ohlol.utils.errors import InputError

LINES: list[dict[str, Any]] = [{"epoch": n, "step": 3 * n, "train_loss": 1 / n} for n in (1, 2, 3)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / METRICS_FILE


def test_lines_are_read_as_they_were_written(path: Path) -> None:
    log = MetricsLog(path)
    for line in LINES:
        size, sha256 = log.append(line)
        data = path.read_bytes()
        assert (size, sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert read_metrics(path.parent) == LINES


def test_lines_after_a_saved_state_are_removed(path: Path) -> None:
    log = MetricsLog(path)
    log.append(LINES[0])
    size, sha256 = log.append(LINES[1])
    log.append(LINES[2])
    resumed = MetricsLog(path)
    resumed.truncate(size, sha256)
    assert read_metrics(path.parent) == LINES[:2]
    resumed.append(LINES[2])
    data = path.read_bytes()
    assert resumed.append(LINES[2])[1] == hashlib.sha256(data + json.dumps(LINES[2]).encode() + b"\n").hexdigest()


def test_everything_is_removed_where_nothing_was_logged_before_the_state(path: Path) -> None:
    MetricsLog(path).append(LINES[0])
    MetricsLog(path).truncate(0, "")
    assert path.read_bytes() == b""
    assert read_metrics(path.parent) == []


def test_a_missing_log_is_that_of_a_run_without_an_evaluation(path: Path) -> None:
    MetricsLog(path).truncate(0, "")
    assert not path.exists()


@pytest.mark.parametrize("damage", ["shorter", "other bytes", "missing"])
def test_a_log_that_changed_is_refused(path: Path, damage: str) -> None:
    size, sha256 = MetricsLog(path).append(LINES[0])
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(data[:-1] if damage == "shorter" else b" " + data[1:])
    with pytest.raises(InputError, match=f"its first {size} bytes are not those that were written"):
        MetricsLog(path).truncate(size, sha256)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("[]", "it has no epoch, step and train_loss"),
        ('{"epoch": 1, "step": 1}', "it has no epoch, step and train_loss"),
        ('{"epoch": 1, "step": 1, "train_loss": "low"}', "it holds more than numbers"),
        ('{"epoch": 1, "step": 1, "train_loss": NaN}', "NaN is not a number of JSON"),
        ('{"epoch": 1, "step": 1, "train_loss": 1e999}', "it holds more than numbers"),
        ("{", "Expecting"),
    ],
)
def test_an_invalid_line_is_named(path: Path, line: str, reason: str) -> None:
    MetricsLog(path).append({**LINES[0], "machine": {"ohlol": "0"}})
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(InputError, match=rf"{METRICS_FILE}:2: cannot be read: {reason}"):
        read_metrics(path.parent)


def test_a_run_without_a_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_metrics(tmp_path)
