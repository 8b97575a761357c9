"""The run directory: atomic writes, checked reads, and the state a run resumes from; knows nothing of how one trains.

    run/  config.json         task, settings of data, model and training, scores; format version
          vocab.json          symbols and labels, or columns and their scales
          model.safetensors   the best weights
          README.md           model card
          metrics.jsonl       one line an evaluation; no clock in it, so equal runs write equal bytes
          resume/last.safetensors   weights, optimizer, RNG and position, its JSON part in the file's metadata

No file holds a pickle. Each is written to a temporary name, flushed to the disk and renamed.
"""

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ohlol import __version__
from ohlol.data.codec import Codec
from ohlol.errors import InputError
from ohlol.model import SequenceModel, Sizes
from ohlol.settings import DataSettings, ModelSettings, TrainSettings, check

FORMAT = 1
"""Version of the run directory; a reader refuses any other."""
FILES = ("model.safetensors", "metrics.jsonl", "vocab.json", "README.md", "config.json")
"""What lies in a run directory beside `resume/`."""
T = TypeVar("T")

JSON_LIMIT = 1 << 28
"""Bytes of the largest JSON file read: a vocabulary of a few million symbols fits."""


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
            raise InputError(f"config.json has format {found!r}; this version of ohlol ({__version__}) reads {FORMAT}")
        try:
            config = Config(
                task=str(data["task"]),
                data=_typed(DataSettings, data["data"]),
                model=_typed(ModelSettings, data["model"]),
                sizes=_typed(Sizes, data["sizes"]),
                training=_typed(TrainSettings, data["training"]),
                train_files=tuple(map(str, data["train_files"])),
                dev_file=data["dev_file"],
                pairs=tuple((given, wanted) for given, wanted in data["pairs"]),
                scores={str(k): float(v) for k, v in data["scores"].items()},
            )
            check(config.model, config.training)
            return config
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"config.json is not a configuration of ohlol: {error!r}") from None


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


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: temporary name, flush to disk, rename, flush the folder."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise InputError(f"{path}: cannot be written: {error.strerror}; what was there is as it was") from None
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_json(path: Path, data: Any) -> None:
    """Write JSON, indented, as `write_bytes` does."""
    write_bytes(path, (json.dumps(data, ensure_ascii=False, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        InputError: missing, larger than `JSON_LIMIT`, not UTF-8 or not JSON.
    """
    try:
        if path.stat().st_size > JSON_LIMIT:
            raise InputError(f"{path}: {path.stat().st_size} bytes; at most {JSON_LIMIT} are read")
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        what = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path}: cannot be read: {what}") from None


def create(out: Path, *, overwrite: bool) -> None:
    """Make a new run directory.

    Raises:
        InputError: it exists and is not to be overwritten, or is no run directory, or cannot be made.
    """
    if out.exists():
        if not overwrite:
            raise InputError(
                f"{out} exists: give --overwrite to replace it, --resume to go on with it, or another --out"
            )
        if not out.is_dir() or not _is_run(out):
            raise InputError(f"{out} is not a run directory and is left alone: give another --out")
        for name in ("resume/last.safetensors", *FILES):
            (out / name).unlink(missing_ok=True)
    try:
        (out / "resume").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be made: {error.strerror}") from None


def _is_run(out: Path) -> bool:
    """Whether a directory is a run of any version, or one that was stopped before it had a config.json, or empty."""
    names = {path.name.removesuffix(".tmp") for path in out.iterdir()}
    if "config.json" not in names:
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
        raise InputError(f"{run}: is not a run directory: it has no config.json")
    try:
        return Config.from_json(read_json(run / "config.json"))
    except InputError as error:
        raise InputError(f"{run}: {error}") from None


def read_codec(run: Path) -> Codec:
    """The vocabulary of a run directory; raises InputError."""
    found = read_json(run / "vocab.json")
    try:
        return Codec.from_json(found)
    except InputError as error:
        raise InputError(f"{run / 'vocab.json'}: {error}") from None


def save_model(run: Path, model: SequenceModel) -> None:
    """Write the weights; a tied weight is written once, since the reader ties it again."""
    write_bytes(run / "model.safetensors", save(weights_of(model), {"format": "pt"}))


def weights_of(model: SequenceModel) -> dict[str, Tensor]:
    """The named weights of a model, each tensor once."""
    weights = {k: v.detach().contiguous() for k, v in model.state_dict().items()}
    if model.settings.tied:
        del weights["head.weight"]
    return weights


def put_weights(model: SequenceModel, weights: dict[str, Tensor], where: str) -> None:
    """Put named weights into a model, names and shapes checked first; raises InputError."""
    expected = weights_of(model)
    if set(weights) != set(expected):
        odd = sorted(set(weights) ^ set(expected))[0]
        raise InputError(f"{where}: the weight {odd!r} is {'unknown' if odd in weights else 'missing'}")
    for name, tensor in weights.items():
        if tensor.shape != expected[name].shape or tensor.dtype != expected[name].dtype:
            raise InputError(
                f"{where}: {name} is {tuple(tensor.shape)} {tensor.dtype}; "
                f"config.json asks for {tuple(expected[name].shape)} {expected[name].dtype}"
            )
    if model.settings.tied:
        weights = {**weights, "head.weight": weights["encoder.embedding.weight"]}
    model.load_state_dict(weights)


def load_model(run: Path) -> tuple[Config, Codec, SequenceModel]:
    """Read a run's configuration, vocabulary and best weights; raises InputError."""
    config, codec = read_config(run), read_codec(run)
    path = run / "model.safetensors"
    if not path.exists():
        raise InputError(f"{run}: has no model.safetensors yet: its training saved no weights")
    if config.task != codec.task or config.sizes != sizes_of(codec):
        raise InputError(f"{run}: config.json and vocab.json do not belong together")
    model = SequenceModel(config.model, config.sizes)
    put_weights(model, read_tensors(path)[0], str(path))
    return config, codec, model.eval()


def sizes_of(codec: Codec) -> Sizes:
    """The sizes a vocabulary gives a model."""
    if codec.task == "forecast":
        return Sizes(len(codec.columns), len(codec.target_columns), numeric=True)
    assert codec.symbols is not None
    assert codec.labels is not None
    chars = len(codec.chars) if codec.chars is not None else 0
    bigrams = len(codec.bigrams) if codec.bigrams is not None else 0
    return Sizes(len(codec.symbols), len(codec.labels), chars, bigrams, whole=codec.task == "classify")


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of a safetensors file and its metadata; raises InputError."""
    try:
        with safe_open(path, "pt") as file:
            return {k: file.get_tensor(k) for k in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None


def save_resume(run: Path, tensors: dict[str, Tensor], position: dict[str, Any]) -> None:
    """Write the state from which a run goes on: tensors and, in the file's metadata, everything else."""
    metadata = {"state": json.dumps({"format": FORMAT, "position": position})}  # one key: several have no fixed order
    write_bytes(run / "resume" / "last.safetensors", save(tensors, metadata))


def load_resume(run: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_resume` wrote; raises InputError."""
    path = run / "resume" / "last.safetensors"
    if not path.exists():
        raise InputError(f"{run}: has no saved state to resume from; --overwrite starts anew")
    tensors, metadata = read_tensors(path)
    try:
        state = json.loads(metadata["state"])
        version, position = state["format"], state["position"]
    except (KeyError, ValueError, TypeError, RecursionError):
        raise InputError(f"{path}: is not a saved state; --overwrite starts anew") from None
    if version != FORMAT:
        raise InputError(f"{path}: has format {version!r}; this version of ohlol reads {FORMAT}")
    if not isinstance(position, dict) or "rng" not in tensors:
        raise InputError(f"{path}: is not a saved state; --overwrite starts anew")
    return tensors, position


def rng_state() -> Tensor:
    """The state of torch's generator, as a tensor to save."""
    return torch.get_rng_state()
