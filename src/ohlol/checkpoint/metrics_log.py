"""The metrics log of a run, `metrics.jsonl`: one line for each evaluation."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

from ohlol.utils.errors import InputError, describe_error
from ohlol.utils.files import JSON_LIMIT, append_line, parse_json, read_bytes, write_bytes

METRICS_FILE = "metrics.jsonl"


class MetricsLog:
    """Writes the metrics log; a resumed run removes the lines that were written after its saved state."""

    def __init__(self, path: Path):
        self.path = path
        self._digest = hashlib.sha256()

    def append(self, line: dict[str, Any]) -> tuple[int, str]:
        """Append a line.

        Returns:
            The length of the file in bytes and its SHA-256.

        Raises:
            InputError: the file cannot be written.
        """
        data = json.dumps(line).encode() + b"\n"
        size = append_line(self.path, data)
        self._digest.update(data)
        return size, self._digest.hexdigest()

    def truncate(self, size: int, sha256: str) -> None:
        """Keep the first `size` bytes.

        Raises:
            InputError: the file is shorter, or these bytes do not have this SHA-256 (empty for an unknown one).
        """
        file_size = self.path.stat().st_size if self.path.is_file() else 0
        lines = b""
        if 0 < size <= file_size:
            with self.path.open("rb") as file:
                lines = file.read(size)
        self._digest = hashlib.sha256(lines)
        if len(lines) < size or sha256 not in ("", self._digest.hexdigest()):
            raise InputError(
                "{path}: its first {size} bytes are not those that were written: it was changed or damaged; "
                "use `overwrite` to start a new run",
                path=self.path,
                size=size,
            )
        if file_size > size:
            write_bytes(self.path, lines)


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics log, one for each epoch, in order.

    Raises:
        InputError: there is no log, or a line is not one that `MetricsLog` writes.
    """
    path, lines = run / METRICS_FILE, list[dict[str, Any]]()
    for number, raw in enumerate(read_bytes(path, JSON_LIMIT).splitlines(), 1):
        try:
            line = parse_json(raw)
            if not isinstance(line, dict) or not {"epoch", "step", "train_loss"} <= set(line):
                raise ValueError("it has no epoch, step and train_loss")
            numbers = {k: v for k, v in line.items() if k != "machine"}
            if not all(isinstance(v, int | float) and math.isfinite(v) for v in numbers.values()):
                raise ValueError("it holds more than numbers")
        except (ValueError, RecursionError, OverflowError) as error:
            raise InputError(
                "{path}:{number}: cannot be read: {error}", path=path, number=number, error=describe_error(error)
            ) from None
        lines.append(line)
    return lines
