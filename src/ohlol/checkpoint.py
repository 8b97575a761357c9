"""The run directory: atomic writes, checked reads, and the state a run resumes from; knows nothing of how one trains.

    run/  config.json         task, settings of data, model and training, scores; format version
          vocab.json          symbols and labels, or columns and their scales
          model.safetensors   the best weights
          README.md           model card
          metrics.jsonl       one line an evaluation; no clock in it, so equal runs write equal bytes
          resume/last.safetensors   weights, optimizer, RNG and position, its JSON part in the file's metadata
          resume/before.safetensors the same as it was one save earlier, in case the last is damaged

No file holds a pickle. Each is written to a temporary name, flushed to the disk and renamed, and carries a SHA-256 of
itself. What is read may come from a stranger: sizes, depth and types are checked first, and nothing is written through
a symbolic link.
"""

import errno
import hashlib
import json
import os
import warnings
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ohlol import __version__
from ohlol.data.codec import Codec
from ohlol.errors import InputError, InputWarning
from ohlol.model import SequenceModel, Sizes
from ohlol.settings import DataSettings, ModelSettings, TrainSettings, check

try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None

FORMAT = 1
"""Version of the run directory; a reader refuses any other."""
FILES = ("model.safetensors", "metrics.jsonl", "vocab.json", "README.md", "config.json")
"""What lies in a run directory beside `resume/`."""
T = TypeVar("T")

JSON_LIMIT = 1 << 28
"""Bytes of the largest JSON file read: a vocabulary of a few million symbols fits."""
HEADER_LIMIT = 1 << 24
"""Bytes of the largest safetensors header read: a tensor's entry takes about 100, and no network here has 100,000."""
STATES = ("last", "before")
"""The saved states, newest first."""
UNSEALED = "0" * 64
"""What stands in a file for its checksum while the checksum is taken."""


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
            check(config.model, config.training)
            return config
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise InputError(f"config.json is not a configuration of ohlol: {_short(error)}") from None


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


def write_bytes(path: Path, data: bytes, keep: Path | None = None) -> None:
    """Write a file whole or not at all: temporary name, flush to disk, rename, flush the folder.

    Args:
        path: where to; a symbolic link there is replaced, not followed.
        data: what to write.
        keep: where the file that was there goes; without it it is gone.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.unlink(missing_ok=True)  # of a run that was killed
        with temporary.open("xb") as file:  # x: never through a link
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if keep is not None and path.exists():
            path.replace(keep)
        temporary.replace(path)
        _flush_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise unwritten(path, error) from None


def unwritten(path: Path, error: OSError) -> InputError:
    """What is said where a file cannot be written."""
    return InputError(f"{path}: cannot be written: {error.strerror}; what was there is as it was")


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot flush folders says so
            raise
    finally:
        os.close(handle)


def append_line(path: Path, data: bytes) -> int:
    """Add to a file and flush it to the disk, not through a symbolic link; its length then. Raises InputError."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | NO_FOLLOW, 0o666)
        with os.fdopen(handle, "ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            return file.tell()
    except OSError as error:
        raise unwritten(path, error) from None


NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write JSON, indented and with its checksum last, as `write_bytes` does."""
    sealed = {**data, "sha256": _digest(data)}
    write_bytes(path, (json.dumps(sealed, ensure_ascii=False, indent=2, allow_nan=False) + "\n").encode())


def _digest(data: dict[str, Any]) -> str:
    """The checksum of a JSON object, whatever its white space and the order of its keys."""
    plain = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(plain.encode()).hexdigest()


def read_json(path: Path) -> Any:
    """Read JSON, without its checksum if it has one, which must be right.

    Raises:
        InputError: missing, no plain file, larger than `JSON_LIMIT`, not UTF-8, not JSON, damaged.
    """
    raw = _read(path, JSON_LIMIT)
    try:
        data = parse_json(raw)
        if isinstance(data, dict) and "sha256" in data and data.get("format", FORMAT) == FORMAT:
            found = data.pop("sha256")
            if found != _digest(cast("dict[str, Any]", data)):
                raise ValueError('it does not match its checksum; without its "sha256" it is read as it stands')
        return data
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read: {_short(error)}") from None


def parse_json(raw: bytes | str) -> Any:
    """JSON as the standard has it: no key twice, no NaN.

    Raises:
        ValueError: it is not.
        RecursionError: it is too deep.
    """

    def constant(name: str) -> None:
        raise ValueError(f"{name} is no number of JSON")

    return json.loads(raw, object_pairs_hook=different, parse_constant=constant)


def different(entries: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys all differ; raises ValueError where one stands twice."""
    made = dict(entries)
    if len(made) < len(entries):
        raise ValueError("a key stands twice in an object")
    return made


def _short(error: BaseException) -> str:
    """An error's own words, on one line and not endless: they may repeat what a stranger wrote."""
    said = str(error) if isinstance(error, InputError | ValueError) else repr(error)
    said = " ".join(said.split())
    return said if len(said) <= SAID else said[: SAID - 1] + "…"


SAID = 200
"""Characters of a library's own message that an error repeats."""


def _read(path: Path, most: int) -> bytes:
    """A plain file's bytes; raises InputError where it is none, or holds more than `most`."""
    try:
        if path.exists() and not path.is_file():  # a pipe or a device would keep us waiting, or never end
            raise InputError(f"{path}: cannot be read: not a plain file")
        with path.open("rb") as file:
            data = file.read(min(os.fstat(file.fileno()).st_size, most) + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > most:
        raise InputError(f"{path}: cannot be read: at most {most} bytes are expected, and it has more")
    return data


@contextmanager
def locked(run: Path) -> Generator[None]:
    """Hold a run directory, so that no other process writes to it.

    The system lets go of the lock when a process ends, however it ends; a lock file that is left is taken over.

    Raises:
        InputError: another process holds it; or `resume` leads out of the directory.
    """
    if (run / "resume").is_symlink():
        raise InputError(f"{run / 'resume'}: is a symbolic link; nothing is written through one")
    path = run / "resume" / "lock"
    try:
        (run / "resume").mkdir(exist_ok=True)
        handle = _lock(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be locked: {error.strerror}") from None
    try:
        yield
    finally:
        with suppress(OSError):  # a lock file that stays is taken over
            path.unlink()
        os.close(handle)


def _lock(path: Path) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | NO_FOLLOW, 0o666)
        try:
            if not _held(handle):
                holder = os.read(handle, 20).decode("ascii", "replace").strip()
                raise InputError(
                    f"{path.parent.parent}: another process{f' ({holder})' if holder.isdigit() else ''} is training "
                    "there: wait for it, stop it, or give another --out"
                )
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), path.stat()):  # not one that its holder has just removed
                    os.ftruncate(handle, 0)
                    os.write(handle, str(os.getpid()).encode())
                    return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _held(handle: int) -> bool:
    """Whether the lock is ours now."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):  # a network file system without locks
            warnings.warn("this file system has no locks: see that no other process uses this --out", InputWarning, 4)
            return True
        raise


def create(out: Path, *, overwrite: bool, held: ExitStack | None = None) -> None:
    """Make a new run directory, and hold it with `locked` until `held` is left.

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
    try:
        (out / "resume").mkdir(parents=True, exist_ok=True)
        if held is not None:
            held.enter_context(locked(out))
        for name in (*(f"resume/{state}.safetensors" for state in STATES), *FILES):
            (out / name).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be made: {error.strerror}") from None


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
    found = read_json(run / "vocab.json")
    try:
        return Codec.from_json(found)
    except InputError as error:
        raise InputError(f"{run / 'vocab.json'}: {error}") from None


def save_model(run: Path, model: SequenceModel) -> None:
    """Write the weights; a tied weight is written once, since the reader ties it again."""
    write_bytes(run / "model.safetensors", sealed(weights_of(model), {"format": "pt"}))


def sealed(tensors: dict[str, Tensor], metadata: dict[str, str]) -> bytes:
    """A safetensors file with the SHA-256 of the whole file in its metadata, taken while that is `UNSEALED`."""
    plain = save(tensors)
    size = int.from_bytes(plain[:8], "little")
    header = {"__metadata__": {**metadata, "sha256": UNSEALED}, **json.loads(plain[8 : 8 + size])}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the tensors after it are aligned
    start = len(text).to_bytes(8, "little")
    digest = hashlib.sha256(start + text)
    digest.update(memoryview(plain)[8 + size :])
    return start + text.replace(_seal(UNSEALED), _seal(digest.hexdigest()), 1) + plain[8 + size :]


def _seal(digest: str) -> bytes:
    return f'"sha256":"{digest}"'.encode()


def weights_of(model: SequenceModel) -> dict[str, Tensor]:
    """The named weights of a model, each tensor once."""
    weights = {k: v.detach().contiguous() for k, v in model.state_dict().items()}
    if model.settings.tied:
        del weights["head.weight"]
    return weights


def put_weights(model: SequenceModel, weights: dict[str, Tensor], where: str) -> None:
    """Put named weights into a model, names and shapes checked first; raises InputError."""
    check_weights(weights, weights_of(model), where)
    if model.settings.tied:
        weights = {**weights, "head.weight": weights["encoder.embedding.weight"]}
    model.load_state_dict(weights)


def check_weights(weights: dict[str, Tensor], expected: dict[str, Tensor], where: str) -> None:
    """Names, shapes and types of weights against those expected; raises InputError."""
    if set(weights) != set(expected):
        odd = sorted(set(weights) ^ set(expected))[0]
        raise InputError(f"{where}: the weight {odd[:SAID]!r} is {'unknown' if odd in weights else 'missing'}")
    for name, tensor in weights.items():
        if tensor.shape != expected[name].shape or tensor.dtype != expected[name].dtype:
            raise InputError(
                f"{where}: {name} is {tuple(tensor.shape)} {tensor.dtype}; "
                f"config.json asks for {tuple(expected[name].shape)} {expected[name].dtype}"
            )
        if not torch.isfinite(tensor).all():
            raise InputError(f"{where}: {name} holds values that are no numbers")


def load_model(run: Path) -> tuple[Config, Codec, SequenceModel]:
    """Read a run's configuration, vocabulary and best weights; raises InputError."""
    config, codec = read_config(run), read_codec(run)
    path = run / "model.safetensors"
    if not path.exists():
        raise InputError(f"{run}: has no model.safetensors yet: its training saved no weights")
    if config.task != codec.task or config.sizes != sizes_of(codec):
        raise InputError(f"{run}: config.json and vocab.json do not belong together")
    expected = weights_of(planned(config))
    weights = read_tensors(path, sum(t.nbytes for t in expected.values()))[0]
    check_weights(weights, expected, str(path))  # before there is memory for sizes that only config.json claims
    model = SequenceModel(config.model, config.sizes)
    put_weights(model, weights, str(path))
    return config, codec, model.eval()


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


def read_tensors(path: Path, most: int = 1 << 40) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of a safetensors file and its metadata, the checksum compared where it has one.

    Args:
        path: the file.
        most: bytes that its tensors can have at most.

    Raises:
        InputError: missing, damaged, larger than it can be.
    """
    data = _read(path, most + HEADER_LIMIT)
    try:
        metadata = _header(data).get("__metadata__", {})
        if not isinstance(metadata, dict) or not all(
            isinstance(v, str) for v in cast("dict[str, Any]", metadata).values()
        ):
            raise ValueError("its metadata are no strings")
        metadata = cast("dict[str, str]", metadata)
        if "sha256" in metadata:
            end = 8 + int.from_bytes(data[:8], "little")
            digest = hashlib.sha256(data[:end].replace(_seal(metadata["sha256"]), _seal(UNSEALED), 1))
            digest.update(memoryview(data)[end:])
            if digest.hexdigest() != metadata["sha256"]:
                raise ValueError("it does not match its checksum: it is damaged")
        return load(data), metadata
    except (SafetensorError, ValueError, KeyError, RecursionError, OverflowError) as error:
        raise InputError(f"{path}: cannot be read: {_short(error)}") from None


def _header(data: bytes) -> dict[str, Any]:
    size = int.from_bytes(data[:8], "little")
    if size > min(HEADER_LIMIT, len(data) - 8):
        raise ValueError(f"its header claims {size} bytes")
    header = parse_json(data[8 : 8 + size])
    if not isinstance(header, dict):
        raise ValueError("its header is no object")
    return cast("dict[str, Any]", header)


def save_resume(run: Path, tensors: dict[str, Tensor], position: dict[str, Any]) -> None:
    """Write the state from which a run goes on: tensors and, in the file's metadata, everything else.

    The state that was there is kept as the one before.
    """
    metadata = {"state": json.dumps({"format": FORMAT, "position": position})}
    newest, before = (run / "resume" / f"{state}.safetensors" for state in STATES)
    write_bytes(newest, sealed(tensors, metadata), keep=before)


def load_resume(run: Path, most: int = 1 << 40) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_resume` wrote; where that is damaged the state before it, with a warning.

    Raises:
        InputError: there is none, none that can be read, or one of another version.
    """
    newest, before = (run / "resume" / f"{state}.safetensors" for state in STATES)
    if not newest.exists() and not before.exists():
        raise InputError(f"{run}: has no saved state to resume from; --overwrite starts anew")
    if not newest.exists():  # a save that ended between its two renames
        return _load_state(before, most)
    try:
        return _load_state(newest, most)
    except InputError as error:
        if not before.exists():
            raise InputError(f"{error}; --overwrite starts anew") from None
        try:
            found = _load_state(before, most)
        except InputError as other:
            raise InputError(f"{error}; nor can the state before it: {other}; --overwrite starts anew") from None
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
        raise InputError(f"{path}: has format {version!r}; this version of ohlol reads {FORMAT}")
    if not isinstance(position, dict) or "rng" not in tensors:
        raise InputError(f"{path}: is not a saved state")
    return tensors, cast("dict[str, Any]", position)


def rng_state() -> Tensor:
    """The state of torch's generator, as a tensor to save."""
    return torch.get_rng_state()
