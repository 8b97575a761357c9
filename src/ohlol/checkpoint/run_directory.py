"""The run directory: what lies in it, how one is made, and a model read from it; knows nothing of how one trains.

    run/  config.json         task, settings of data, model and training, scores; format version
          vocab.json          symbols and labels, or columns and their scales
          model.safetensors   the best weights
          README.md           model card
          metrics.jsonl       one line an evaluation; no clock in it, so equal runs write equal bytes
          snapshots/          the weights after each epoch, where --snapshots asked for them
          resume/last.safetensors   weights, optimizer, RNG and position, its JSON part in the file's metadata
          resume/before.safetensors the same as it was one save earlier, in case the last is damaged

No file holds a pickle. Each is written as files.py does it and carries a SHA-256 of itself; before anything is built
from what was read, its names, shapes and types are checked.
"""

import hashlib
import json
import math
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from ohlol.checkpoint import snapshots
from ohlol.checkpoint.weights import check_weights, put_weights, read_tensors, weights_of, write_tensors
from ohlol.config import TASKS, DataSettings, ModelSettings, TrainSettings, check
from ohlol.data.codec import Codec
from ohlol.data.corpus.encoded import read_codec as codec_of
from ohlol.data.corpus.encoded import remove
from ohlol.data.loading import DATA_FOLDER
from ohlol.data.sequences import check_settings
from ohlol.models.sequence_model import SequenceModel, Sizes
from ohlol.utils.devices import fetched
from ohlol.utils.errors import InputError, cut, short
from ohlol.utils.files import FORMAT, JSON_LIMIT, parse_json, read_bytes, read_json
from ohlol.utils.locks import locked
from ohlol.utils.version import __version__

FILES = ("model.safetensors", "metrics.jsonl", "vocab.json", "README.md", "config.json")
"""What lies in a run directory beside `resume/`."""
T = TypeVar("T")

STATES = ("last", "before")
"""The saved states, newest first."""


@dataclass(frozen=True)
class Config:
    """What `config.json` holds."""

    task: str
    data: DataSettings
    model: ModelSettings
    sizes: Sizes
    training: TrainSettings
    train_files: tuple[str, ...] = ()
    dev_file: str | None = None
    pairs: tuple[Any, ...] = ()
    """The pairs themselves, (input, target), where the data came from no file."""
    scores: dict[str, float] = field(default_factory=dict[str, float])

    @property
    def files(self) -> str:
        """What the data came from, in words."""
        return ", ".join([*self.train_files, *filter(None, [self.dev_file])]) or "the pairs"

    def to_json(self) -> dict[str, Any]:
        """With the format's version first."""
        return {"format": FORMAT, "ohlol": __version__, **asdict(self)}

    @staticmethod
    def from_json(data: Any) -> "Config":
        """The reverse of `to_json`.

        Raises:
            InputError: another version, or not a configuration.
        """
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            found = data.get("format") if isinstance(data, dict) else type(data).__name__
            raise InputError(
                f"config.json has format {cut(repr(found))}; this version of ohlol ({__version__}) reads {FORMAT}"
            )
        try:
            if isinstance(data["training"].get("checkpoint_every"), int):  # as 0.1.0 wrote it: seconds
                data["training"]["checkpoint_every"] = f"{data['training']['checkpoint_every']}s"
            config = Config(
                task=str(data["task"]),
                data=_typed(DataSettings, data["data"]),
                model=_typed(ModelSettings, data["model"]),
                sizes=_typed(Sizes, data["sizes"]),
                training=_typed(TrainSettings, data["training"]),
                train_files=tuple(map(str, data["train_files"])),
                dev_file=None if data["dev_file"] is None else str(data["dev_file"]),
                pairs=tuple((given, wanted) for given, wanted in data["pairs"]),
                scores={str(k): float(v) for k, v in data["scores"].items()},
            )
            if config.task not in TASKS:
                raise ValueError(f"task is {config.task!r}")
            check_settings(config.data)
            check(config.model, config.training)
            return config
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise InputError(f"config.json is not a configuration of ohlol: {short(error)}") from None


def _typed(kind: type[T], data: Any) -> T:
    """A dataclass of plain values from JSON; each value must have the type of its default."""
    known = {f.name: f for f in fields(kind)}  # pyright: ignore[reportArgumentType]
    if not isinstance(data, dict) or set(data) - set(known):
        raise ValueError(f"{kind.__name__} has no setting {sorted(set(data) - set(known))}")
    made = kind(**data)
    for name, f in known.items():
        value = getattr(made, name)
        wanted = str(f.type).removeprefix("<class '").removesuffix("'>")
        allowed = {"str": str, "int": int, "float": (int, float), "bool": bool}
        options = [allowed[part] for part in wanted.split(" | ") if part in allowed]
        fits = any(isinstance(value, o) and (o in (bool,) or not isinstance(value, bool)) for o in options)
        if not fits and not (value is None and "None" in wanted):
            raise ValueError(f"{name} is {value!r}, not {wanted}")
    return made


def create(out: Path, *, overwrite: bool, held: ExitStack | None = None, trains: bool = True) -> None:
    """Make a new run directory, and hold it with `locked` until `held` is left; `trains` if it could go on instead.

    Raises:
        InputError: it exists and is not to be overwritten, or is no run directory, or cannot be made.
    """
    if out.exists():
        if not overwrite:
            go_on = " --resume to go on with it," if trains else ""
            raise InputError(f"{out} exists: give --overwrite to replace it,{go_on} or another --out")
        if not out.is_dir() or not _is_run(out):
            raise InputError(f"{out} is not a run directory and is left alone: give another --out")
    try:
        (out / "resume").mkdir(parents=True, exist_ok=True)
        if held is not None:
            held.enter_context(locked(out))
        for name in (*(f"resume/{state}.safetensors" for state in STATES), *FILES):
            (out / name).unlink(missing_ok=True)
        snapshots.clear(out)
        remove(out / DATA_FOLDER)
    except OSError as error:
        raise InputError(f"{out}: cannot be made: {error.strerror}") from None


def lighten(run: Path, *, weights: bool) -> None:
    """Take away what a finished run needs no more: its saved states and, where `weights` are not wanted, those too.

    What stays says what it was and how it went; with its weights it is a whole run.

    Raises:
        InputError: it cannot be taken away.
    """
    try:
        if not weights:
            snapshots.clear(run)
            (run / "model.safetensors").unlink(missing_ok=True)
            (run / "README.md").unlink(missing_ok=True)
        remove(run / "resume")
    except OSError as error:
        raise InputError(f"{run}: cannot be made smaller: {error.strerror}") from None


def _is_run(out: Path) -> bool:
    """Whether a directory is a run of any version, or one that was stopped before it had a config.json, or empty."""
    names = {path.name.removesuffix(".tmp") for path in out.iterdir()}
    if not (out / "config.json").exists():  # or only its temporary file
        return names <= {"resume", "vocab.json", "config.json"}
    try:
        found = read_json(out / "config.json")
    except InputError:
        return False
    return isinstance(found, dict) and {"format", "ohlol"} <= set(found)


def free_name(stem: str, root: Path = Path("runs")) -> Path:
    """A run directory that is not there yet: runs/stem-1, runs/stem-2 and so on."""
    number = 1
    while (root / f"{stem}-{number}").exists():
        number += 1
    return root / f"{stem}-{number}"


def read_config(run: Path) -> Config:
    """The configuration of a run directory.

    Raises:
        InputError: no such directory, none of ours, or of another version.
    """
    if not run.is_dir():
        raise InputError(f"{run}: there is no such run directory; `ohlol train` makes one")
    if not (run / "config.json").exists():
        raise InputError(
            f"{run}: is not a run directory: it has no config.json; --overwrite starts anew where one began"
        )
    try:
        return Config.from_json(read_json(run / "config.json"))
    except InputError as error:
        raise InputError(f"{run}: {error}") from None


def read_codec(run: Path) -> Codec:
    """The vocabulary of a run directory; raises InputError."""
    return codec_of(run / "vocab.json")


def read_described(run: Path) -> tuple[Config, Codec]:
    """The configuration and the vocabulary of a run, which must describe one model; raises InputError."""
    config, codec = read_config(run), read_codec(run)
    if config.task != codec.task or config.sizes != sizes_of(codec):
        raise InputError(f"{run}: config.json and vocab.json do not belong together")
    try:
        planned(config)
    except InputError as error:
        raise InputError(f"{run}: {error}") from None
    return config, codec


def save_model(run: Path, model: SequenceModel) -> None:
    """Write the weights; a tied weight is written once, since the reader ties it again."""
    write_tensors(run / "model.safetensors", weights_of(model), {"format": "pt"})


def read_weights(run: Path, model: SequenceModel) -> dict[str, Tensor]:
    """The best weights of a run, seen to be those of a model; raises InputError."""
    path, expected = run / "model.safetensors", weights_of(model)
    weights = read_tensors(path, sum(t.nbytes for t in expected.values()))[0]
    check_weights(weights, expected, str(path))
    return weights


def identity(config: Config, codec: Codec, model: SequenceModel) -> str:
    """The SHA-256, in hexadecimal, of what a model's answers depend on: task, level, cell, vocabulary, named weights.

    Settings of training, and those that later versions may add, are not in it; shapes are, with the weights.
    """
    about = [config.task, config.data.level, config.model.cell, codec.to_json()]
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, tensor in sorted(weights_of(model).items()):
        digest.update(f"\0{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        digest.update(fetched(tensor).tobytes())
    return digest.hexdigest()


def load_model(run: Path) -> tuple[Config, Codec, SequenceModel]:
    """Read a run's configuration, vocabulary and best weights; raises InputError."""
    config, codec = read_described(run)
    if not (run / "model.safetensors").exists():
        raise InputError(
            f"{run}: has no model.safetensors: its training saved no weights yet, or `ohlol tune` keeps those of "
            "better trials only"
        )
    weights = read_weights(run, planned(config))  # before there is memory for sizes that only config.json claims
    model = SequenceModel(config.model, config.sizes)
    put_weights(model, weights, str(run))
    return config, codec, model.eval()


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl`, an epoch each, in order.

    Raises:
        InputError: it is not there, or a line is not what is written there.
    """
    path, lines = run / "metrics.jsonl", list[dict[str, Any]]()
    for number, raw in enumerate(read_bytes(path, JSON_LIMIT).splitlines(), 1):
        try:
            line = parse_json(raw)
            if not isinstance(line, dict) or not {"epoch", "step", "train_loss"} <= set(line):
                raise ValueError("it has no epoch, step and train_loss")
            numbers = {k: v for k, v in line.items() if k != "machine"}
            if not all(isinstance(v, int | float) and math.isfinite(v) for v in numbers.values()):
                raise ValueError("it holds more than numbers")
        except (ValueError, RecursionError, OverflowError) as error:
            raise InputError(f"{path}:{number}: cannot be read: {short(error)}") from None
        lines.append(line)
    return lines


def planned(config: Config) -> SequenceModel:
    """The model of a configuration without its numbers: its shapes, in no memory."""
    with torch.device("meta"):
        return SequenceModel(config.model, config.sizes)


def sizes_of(codec: Codec) -> Sizes:
    """The sizes a vocabulary gives a model."""
    if codec.task == "forecast":
        return Sizes(len(codec.columns), len(codec.target_columns), numeric=True)
    assert codec.symbols is not None
    assert codec.labels is not None
    chars = len(codec.chars) if codec.chars is not None else 0
    bigrams = len(codec.bigrams) if codec.bigrams is not None else 0
    return Sizes(len(codec.symbols), len(codec.labels), chars, bigrams, whole=codec.task == "classify")
