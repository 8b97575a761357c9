"""The saved state of a run, from which training resumes as if it had never stopped.

A saved state is one safetensors file. Its tensors are the weights, the optimizer's moments, the states of the random
number generators and the hidden state carried between batches; its metadata hold a `Progress` as JSON. Values that are
functions of the seed and the step are not saved, nor are the generators of Python and numpy, which training does not
use.
"""

import json
import math
import warnings
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from ohlol.checkpoint.weights import read_metadata, read_tensors, write_tensors
from ohlol.models.sequence_model import SequenceModel
from ohlol.tasks.metrics import Metrics
from ohlol.utils.errors import InputError, InputWarning, shorten
from ohlol.utils.files import FORMAT, parse_json
from ohlol.utils.translation import join_list, translate

STATES = ("last", "before")
"""The file names, without suffix, of the newest saved state and of the one before it."""
WEIGHTS_FACTOR = 5
"""The largest size of the tensors of weights, moments and averages, as a multiple of the size of the weights."""
EXTRA_BYTES = 1 << 22
"""The largest size of the other tensors: the generators of some hundred processes, step counters and alignment."""
UNRECORDED = {"device": "cpu", "precision": "fp32"}
"""The values of entries that earlier versions did not record of the machine."""


@dataclass
class Progress:
    """The position of a run: everything that a saved state holds besides tensors."""

    epoch: int = 0
    """Complete epochs."""
    batch: int = 0
    """Batches of the current epoch that have been trained on."""
    step: int = 0
    """Batches of all epochs that have been trained on."""
    seconds: float = 0.0
    """Time that training and evaluation took, where `minutes` limits it; otherwise 0."""
    best: Metrics | None = None
    """The metrics of the best evaluation; None before the first one."""
    start: Metrics | None = None
    """The metrics before training, where the network begins with a forecast of its own."""
    epochs_without_improvement: int = 0
    """Evaluations since the best one."""
    lr: float = 0.0
    """The learning rate of the last step."""
    lr_factor: float = 1.0
    """The factor of the learning rate that schedule `plateau` lowers."""
    loss: float = 0.0
    """Sum over the epoch of the loss of each batch times its weight."""
    loss_weight: float = 0.0
    """Sum over the epoch of the weights of the batches; `loss / loss_weight` is the training loss."""
    metrics_bytes: int = 0
    """Length of the metrics log in bytes."""
    metrics_sha256: str = ""
    """SHA-256 of these bytes of the metrics log."""
    data_sha256: str = ""
    """SHA-256 of the encoded data."""
    machine: dict[str, Any] = field(default_factory=dict[str, Any])
    """The last description of the machine in the metrics log."""
    skipped: int = 0
    """Steps of the epoch that were skipped."""
    skipped_in_a_row: int = 0
    """Steps skipped since the last step that changed the weights."""
    spikes: int = 0
    """Steps of the epoch whose loss was a spike."""
    overflows: int = 0
    """Steps of the epoch that were skipped because a gradient overflowed in fp16."""
    steps_taken: int = 0
    """Steps of the epoch that changed the weights."""
    grad_norm_sum: float = 0.0
    """Sum of the gradient norms of these steps, before clipping."""
    averaged_steps: int = 0
    """Steps whose weights are in the mean of the weights."""
    losses: list[float] = field(default_factory=list[float])
    """The loss of each evaluation, with `weight_averaging` "nt_asgd"."""
    loss_average: float = 0.0
    """Exponential moving average of the losses of batches, from which spikes are detected."""

    @staticmethod
    def from_json(position: dict[str, Any]) -> "Progress":
        """The position in a saved state.

        Raises:
            TypeError: a field is unknown or has the wrong type.
            ValueError: a field is missing or out of range.
        """
        if missing := {"epoch", "batch", "step"} - set(position):
            raise ValueError(f"{min(missing)} is missing")
        progress = Progress(**position)
        for f in fields(Progress):
            value, default = getattr(progress, f.name), getattr(Progress(), f.name)
            if f.name in ("best", "start"):
                metrics = value if isinstance(value, dict) else {"": 0.0} if value is None else None
                if metrics is None or not all(
                    isinstance(v, int | float) and math.isfinite(v) for v in metrics.values()
                ):
                    raise TypeError(f"{f.name} holds no metrics")
            elif isinstance(default, list) and isinstance(value, list):
                if not all(isinstance(loss, int | float) and math.isfinite(loss) for loss in cast("list[Any]", value)):
                    raise TypeError(f"{f.name} holds no numbers")
            elif type(value) is not type(default):
                raise TypeError(f"{f.name} is {type(value).__name__}, not {type(default).__name__}")
            elif (
                isinstance(value, int | float) and not 0 <= value < math.inf and f.name not in ("loss", "loss_average")
            ):
                raise ValueError(f"{f.name} is {value}")
        return progress


def state_paths(run: Path) -> tuple[Path, ...]:
    """The files of the saved states of a run, newest first."""
    return tuple(run / "resume" / f"{name}.safetensors" for name in STATES)


def has_state(run: Path) -> bool:
    """Whether a run has a configuration and a saved state, from which it can resume."""
    return (run / "config.json").exists() and any(path.exists() for path in state_paths(run))


def save_state(run: Path, tensors: dict[str, Tensor], position: dict[str, Any]) -> None:
    """Write a saved state; the previous one is kept.

    Args:
        run: the run directory.
        tensors: the tensors by name, of which one is `rng`.
        position: the fields of a `Progress`.

    Raises:
        InputError: the file cannot be written.
    """
    metadata = {"state": json.dumps({"format": FORMAT, "position": position})}
    newest, previous = state_paths(run)
    write_tensors(newest, tensors, metadata, previous)


def load_state(run: Path, max_bytes: int = 1 << 40) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a saved state; where the newest is damaged the previous one, with a warning.

    Args:
        run: the run directory.
        max_bytes: the largest possible size of its tensors, `max_state_bytes`.

    Returns:
        Its tensors by name, and the fields of its `Progress`, which are not checked.

    Raises:
        InputError: there is no saved state, none can be read, or it has another version.
    """
    newest, previous = state_paths(run)
    if not newest.exists() and not previous.exists():
        raise InputError("{run}: has no saved state to resume from; use `overwrite` to start a new run", run=run)
    if not newest.exists():  # a save that ended between its two renames
        return _read_state(previous, max_bytes)
    try:
        return _read_state(newest, max_bytes)
    except InputError as error:
        if not previous.exists():
            raise InputError("{error}; use `overwrite` to start a new run", error=error) from None
        try:
            state = _read_state(previous, max_bytes)
        except InputError as other:
            raise InputError(
                "{error}; nor can the state before it: {other}; use `overwrite` to start a new run",
                error=error,
                other=other,
            ) from None
        warnings.warn(
            translate("{error}; going on from the state before it, {previous}", error=error, previous=previous.name),
            InputWarning,
            2,
        )
        return state


def _read_state(path: Path, max_bytes: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, metadata = read_tensors(path, max_bytes)
    position = _parse_position(metadata, path)
    if "rng" not in tensors:
        raise InputError("{path}: is not a saved state", path=path)
    return tensors, position


def _parse_position(metadata: dict[str, str], path: Path) -> dict[str, Any]:
    try:
        state = parse_json(metadata["state"])
        version, position = state["format"], state["position"]
    except (KeyError, ValueError, TypeError, RecursionError):
        raise InputError("{path}: is not a saved state", path=path) from None
    if version != FORMAT:
        raise InputError(
            "{path}: has format {version}; this version of ohlol reads {format}",
            path=path,
            version=shorten(repr(version)),
            format=FORMAT,
        )
    if not isinstance(position, dict):
        raise InputError("{path}: is not a saved state", path=path)
    return cast("dict[str, Any]", position)


def max_state_bytes(model: SequenceModel, batch_size: int) -> int:
    """The largest possible size in bytes of the tensors of a saved state of a model."""
    weights = sum(w.nbytes for w in model.state_dict().values())
    hidden = model.settings.num_layers * model.directions * sum(model.state_sizes) * batch_size
    return WEIGHTS_FACTOR * weights + 8 * hidden + EXTRA_BYTES


def check_saved_data(run: Path, data_sha256: str, files: str) -> None:
    """Check that the saved states of a run were written for the same data.

    Only the header of one is read: the newest, or the previous one where that is damaged.

    Raises:
        InputError: it was written for other data, or the headers of both are damaged.
    """
    newest, previous = state_paths(run)
    try:
        position = _parse_position(read_metadata(newest), newest)
    except InputError:
        position = _parse_position(read_metadata(previous), previous)
    check_same_data(str(position.get("data_sha256", "")), data_sha256, run, files)


def check_same_data(saved: str, data_sha256: str, run: Path, files: str) -> None:
    """Check that the SHA-256 of data equals the one in a saved state, if it has one; raises InputError."""
    if saved not in ("", data_sha256):
        raise InputError(
            "{run} was started with other data: {files} changed since; `resume` needs the same data",
            run=run,
            files=files,
        )


def warn_if_environment_changed(saved: dict[str, Any], current: dict[str, Any]) -> None:
    """Warn where the machine differs from the one a state was saved on."""
    before = UNRECORDED | saved
    if saved and (changed := [f"{k} {before.get(k)} -> {v}" for k, v in current.items() if before.get(k) != v]):
        warnings.warn(
            translate(
                "this is not as it was when the run was stopped: {changed}; the end may differ in the last bits "
                "from that of a run that was not stopped",
                changed=join_list(changed),
            ),
            InputWarning,
            2,
        )
