"""The saved state of a run, from which it goes on as if it had never stopped; knows nothing of how a step is taken.

All that moves in training is in it: weights, the optimizer's moments, torch's generator, the hidden state that is
carried, and a `Progress`. What is a function of seed and step is not. Python's own generator and numpy's global one are
not in it, since nothing here draws from them.
"""

import hashlib
import json
import math
import warnings
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from ohlol.checkpoint.run_directory import STATES
from ohlol.checkpoint.weights import put_weights, read_tensors, weights_of, write_tensors
from ohlol.models.sequence_model import SequenceModel, State
from ohlol.tasks.metrics import Metrics as MetricValues
from ohlol.training.precision import Precision
from ohlol.utils import devices
from ohlol.utils.distributed import Team
from ohlol.utils.errors import InputError, InputWarning, cut, short
from ohlol.utils.files import FORMAT, append_line, parse_json, write_bytes

STATE_TENSORS = 4
"""A saved state is at most so many times as large as the weights: they themselves and an optimizer's moments."""
DEVICE_RNG = "device_rng"
"""The tensor of the generator of a device other than the CPU."""
UNSAID = {"device": "cpu", "precision": "fp32"}
"""What is not in what earlier versions said of the machine."""
EXTRA_BYTES = 1 << 22
"""Beside weights, moments and hidden state: the generators of some hundred processes, step counters and alignment."""


@dataclass
class Progress:
    """Where a run stands; with the tensors beside it, all that resuming needs."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    best: MetricValues | None = None
    stale: int = 0
    plateau: float = 1.0
    loss: float = 0.0
    counted: float = 0.0
    symbols: int = 0
    metrics_bytes: int = 0
    metrics_sha256: str = ""
    """Of those bytes."""
    data_sha256: str = ""
    """Of the encoded data."""
    machine: dict[str, Any] = field(default_factory=dict[str, Any])
    """What `metrics.jsonl` last said of it."""
    skipped: int = 0
    """Steps of the epoch that were skipped."""
    skipped_in_a_row: int = 0
    spikes: int = 0
    """Steps of the epoch whose loss was a spike."""
    overflows: int = 0
    """Steps of the epoch that fp16 left out for a smaller scale."""
    taken: int = 0
    """Steps of the epoch that changed the weights."""
    norms: float = 0.0
    """Sum of their gradients' norms, before clipping."""
    running: float = 0.0
    """Running mean of the loss, against which a spike is told."""

    @staticmethod
    def of(position: dict[str, Any]) -> "Progress":
        """From a saved state.

        Raises:
            TypeError: a name or a type is wrong.
            ValueError: a number is out of its range.
        """
        if missing := {"epoch", "batch", "step"} - set(position):
            raise ValueError(f"{min(missing)} is missing")
        made = Progress(**position)
        for f in fields(Progress):
            value, default = getattr(made, f.name), getattr(Progress(), f.name)
            if f.name == "best":
                scores = value if isinstance(value, dict) else {"": 0.0} if value is None else None
                if scores is None or not all(isinstance(v, int | float) and math.isfinite(v) for v in scores.values()):
                    raise TypeError("best holds no scores")
            elif type(value) is not type(default):
                raise TypeError(f"{f.name} is {type(value).__name__}, not {type(default).__name__}")
            elif isinstance(value, int | float) and not 0 <= value < math.inf and f.name not in ("loss", "running"):
                raise ValueError(f"{f.name} is {value}")
        return made


def save(run: Path, tensors: dict[str, Tensor], position: dict[str, Any]) -> None:
    """Write the state from which a run goes on: tensors and, in the file's metadata, everything else.

    The state that was there is kept as the one before.
    """
    metadata = {"state": json.dumps({"format": FORMAT, "position": position})}
    newest, before = (run / "resume" / f"{state}.safetensors" for state in STATES)
    write_tensors(newest, tensors, metadata, keep=before)


def load(run: Path, most: int = 1 << 40) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save` wrote; where that is damaged the state before it, with a warning.

    Raises:
        InputError: there is none, none that can be read, or one of another version.
    """
    newest, before = (run / "resume" / f"{state}.safetensors" for state in STATES)
    if not newest.exists() and not before.exists():
        raise InputError(f"{run}: has no saved state to resume from; `overwrite` starts anew")
    if not newest.exists():  # a save that ended between its two renames
        return _load_state(before, most)
    try:
        return _load_state(newest, most)
    except InputError as error:
        if not before.exists():
            raise InputError(f"{error}; `overwrite` starts anew") from None
        try:
            found = _load_state(before, most)
        except InputError as other:
            raise InputError(f"{error}; nor can the state before it: {other}; `overwrite` starts anew") from None
        warnings.warn(f"{error}; going on from the state before it, {before.name}", InputWarning, 2)
        return found


def _load_state(path: Path, most: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, metadata = read_tensors(path, most)
    try:
        state = parse_json(metadata["state"])
        version, position = state["format"], state["position"]
    except (KeyError, ValueError, TypeError, RecursionError):
        raise InputError(f"{path}: is not a saved state") from None
    if version != FORMAT:
        raise InputError(f"{path}: has format {cut(repr(version))}; this version of ohlol reads {FORMAT}")
    if not isinstance(position, dict) or "rng" not in tensors:
        raise InputError(f"{path}: is not a saved state")
    return tensors, cast("dict[str, Any]", position)


def collected(
    model: SequenceModel, optimizer: torch.optim.Optimizer, precision: Precision, carried: State | None, team: Team
) -> dict[str, Tensor]:
    """All tensors that move in training, by name: weights, moments, the scale of fp16, the hidden state carried over,
    the generators.

    The last two are gathered from all processes; without a name but the leader's they are whole there only.
    """
    tensors = {f"model.{k}": v for k, v in weights_of(model).items()} | precision.state()
    for index, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{k}": torch.as_tensor(v) for k, v in values.items() if v is not None}
    tensors |= {f"state.{i}": _joined(team.collected(s.detach().cpu())) for i, s in enumerate(carried or ())}
    for name, own in (("rng", torch.get_rng_state()), (DEVICE_RNG, devices.rng_state(team.device))):
        for rank, state in enumerate(team.collected(own) if own is not None else ()):
            tensors[f"{name}.{rank}" if rank else name] = state
    return tensors


def _joined(parts: list[Tensor]) -> Tensor:
    """The hidden state (L*D, B, H) of all streams from that of each process, which has every n-th of them."""
    if len(parts) < 2:
        return torch.cat(parts).contiguous() if parts else torch.empty(0)
    whole = parts[0].new_empty(parts[0].shape[0], sum(part.shape[1] for part in parts), parts[0].shape[2])
    for rank, part in enumerate(parts):
        whole[:, rank :: len(parts)] = part
    return whole


def largest(model: SequenceModel, batch_size: int) -> int:
    """Bytes that the tensors of a saved state can have at most; the hidden state as for an LSTM in both directions."""
    own = sum(p.nbytes for p in model.parameters())
    carried = 4 * model.settings.num_layers * model.settings.hidden_size * batch_size
    return STATE_TENSORS * own + 8 * carried + EXTRA_BYTES


def put_back(
    tensors: dict[str, Tensor],
    position: dict[str, Any],
    model: SequenceModel,
    optimizer: torch.optim.Optimizer,
    precision: Precision,
    where: str,
    team: Team,
) -> tuple[Progress, State | None]:
    """The reverse of `collected`: fills model, optimizer and generator; the progress and the hidden state carried over.

    Raises:
        InputError: the state does not fit them; the message begins with `where`.
    """
    put_weights(model, {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}, where)
    try:
        progress = Progress.of(position)
        _put_moments(optimizer, list(model.parameters()), tensors)
        precision.put_back(tensors)
        saved_by = 1 + sum(name.startswith("rng.") for name in tensors)
        if saved_by == team.size:
            _put_generators(tensors, team)
        elif team.leads:
            _warn_of_chance(f"saved by {saved_by} process{'es' * (saved_by > 1)}, and now there are {team.size}")
        carried = tuple(s[:, team.rank :: team.size].to(team.device).contiguous() for s in _carried(model, tensors))
        return progress, carried or None
    except (TypeError, ValueError, RuntimeError, KeyError, IndexError) as error:
        raise InputError(f"{where}: the saved state does not fit: {short(error)}") from None


def _put_moments(optimizer: torch.optim.Optimizer, parameters: list[Any], tensors: dict[str, Tensor]) -> None:
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            if not index.isdecimal() or value.shape not in ((), parameters[int(index)].shape):
                raise ValueError(f"{name} is {tuple(value.shape)}")
            moments.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})


def _put_generators(tensors: dict[str, Tensor], team: Team) -> None:
    names = [f"{name}.{team.rank}" if team.rank else name for name in ("rng", DEVICE_RNG)]
    torch.set_rng_state(tensors[names[0]])
    if (names[1] in tensors) != (team.device.type != "cpu"):
        if team.leads:
            _warn_of_chance(f"saved by {'another device' if names[1] in tensors else 'the CPU'}")
    elif names[1] in tensors:
        devices.put_rng_state(team.device, tensors[names[1]])


def _warn_of_chance(why: str) -> None:
    warnings.warn(f"{why}: dropout is drawn anew, and the end differs", InputWarning, 2)


def _carried(model: SequenceModel, tensors: dict[str, Tensor]) -> State:
    names = sorted(k for k in tensors if k.startswith("state."))
    state = tuple(tensors[k] for k in names)
    layers = model.settings.num_layers * (2 if model.settings.bidirectional else 1)
    for name, value in zip(names, state, strict=True):
        if value.dim() != 3 or (value.shape[0], value.shape[2]) != (layers, model.settings.hidden_size):
            raise ValueError(f"{name} is {tuple(value.shape)}")
    return state


def refuse_other_data(run: Path, data_sha256: str, files: str) -> None:
    """Refuse data that are not those of a run's saved state, before the state itself is put back; raises InputError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)  # they come again when it is
        position = load(run)[1]
    same_data(str(position.get("data_sha256", "")), data_sha256, run, files)


def same_data(was: str, now: str, run: Path, files: str) -> None:
    """Refuse data that are not those of the state, which knows them by a SHA-256; raises InputError."""
    if was not in ("", now):
        raise InputError(f"{run} was started with other data: {files} changed since; `resume` needs the same data")


def warn_of_change(was: dict[str, Any], now: dict[str, Any]) -> None:
    """Warn where a machine is not as it was when the run was stopped."""
    before = UNSAID | was
    if was and (changed := [f"{k} {before.get(k)} -> {v}" for k, v in now.items() if before.get(k) != v]):
        warnings.warn(
            f"this is not as it was when the run was stopped: {', '.join(changed)}; the end may differ in the "
            "last bits from that of a run that was not stopped",
            InputWarning,
            2,
        )


class Metrics:
    """`metrics.jsonl`: lines are added at its end, and those that came after a saved state are taken away again."""

    def __init__(self, path: Path):
        self.path = path
        self._digest = hashlib.sha256()

    def add(self, line: dict[str, Any]) -> tuple[int, str]:
        """Write a line; how many bytes there are then, and their SHA-256. Raises InputError."""
        written = json.dumps(line).encode() + b"\n"
        size = append_line(self.path, written)
        self._digest.update(written)
        return size, self._digest.hexdigest()

    def cut_back(self, size: int, sha256: str) -> None:
        """Leave the first `size` bytes; raises InputError where they are not those that were written."""
        there = self.path.stat().st_size if self.path.is_file() else 0
        lines = b""
        if 0 < size <= there:
            with self.path.open("rb") as file:
                lines = file.read(size)
        self._digest = hashlib.sha256(lines)
        if len(lines) < size or sha256 not in ("", self._digest.hexdigest()):
            raise InputError(
                f"{self.path}: its first {size} bytes are not those that were written: it was changed or "
                "damaged; `overwrite` starts anew"
            )
        if there > size:
            write_bytes(self.path, lines)
