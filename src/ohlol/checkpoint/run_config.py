"""The configuration of a run, as `config.json` holds it, and the model it describes."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar, get_origin

import torch

from ohlol.cells import check_cell_name
from ohlol.config import DataSettings, ModelSettings, TrainSettings, check_bounds, expected_type
from ohlol.data.codec import Codec
from ohlol.data.settings import check_settings
from ohlol.models.inputs import Sizes
from ohlol.models.sequence_model import SequenceModel
from ohlol.tasks import TASKS
from ohlol.utils.errors import InputError, describe_error, shorten
from ohlol.utils.files import FORMAT, check_encodable
from ohlol.utils.version import __version__

T = TypeVar("T")
FILE_NAMES = ("train_files", "dev_file", "start")
"""Entries of `config.json` with names of files, which need not be UTF-8."""


@dataclass(frozen=True)
class StartRecord:
    """The run that a model started from."""

    run: str
    """Its directory."""
    weights_sha256: str
    """The SHA-256 of its model.safetensors."""
    metrics: dict[str, float]
    """Those of its best weights, on its own data."""
    keeps_head: bool
    """Whether the head started from its weights too."""
    new_symbols: int
    """Symbols of the vocabulary that it did not have."""

    @staticmethod
    def from_json(data: Any) -> "StartRecord":
        """A record from JSON data; raises KeyError, TypeError, ValueError or AttributeError."""
        metrics = {str(name): float(value) for name, value in data["metrics"].items()}
        return _parse_settings(StartRecord, {**data, "metrics": metrics})


@dataclass(frozen=True)
class RunConfig:
    """The content of `config.json`."""

    task: str
    data: DataSettings
    model: ModelSettings
    sizes: Sizes
    training: TrainSettings
    train_files: tuple[str, ...] = ()
    dev_file: str | None = None
    pairs: tuple[Any, ...] = ()
    """The (input, target) pairs themselves, where the data did not come from files."""
    metrics: dict[str, float] = field(default_factory=dict[str, float])
    start: StartRecord | None = None
    """The run that the weights started from; None where they started at random."""

    @property
    def keeps_head(self) -> bool:
        """Whether the weights of the head started from those of another run."""
        return self.start is not None and self.start.keeps_head

    @property
    def files(self) -> str:
        """The sources of the data, for messages."""
        return ", ".join([*self.train_files, *filter(None, [self.dev_file])]) or "the pairs"

    def to_json(self) -> dict[str, Any]:
        """As plain data, with the version of the format first."""
        described = {"format": FORMAT, "ohlol": __version__, **asdict(self), "data": self.data.to_json()}
        if self.start is None:
            del described["start"]
        return described

    @staticmethod
    def from_json(data: Any) -> "RunConfig":
        """The inverse of `to_json`.

        Raises:
            InputError: the data have another version, or are not a configuration.
        """
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            version = data.get("format") if isinstance(data, dict) else type(data).__name__
            raise InputError(
                "config.json has format {version}; this version of ohlol ({own_version}) reads {format}",
                version=shorten(repr(version)),
                own_version=__version__,
                format=FORMAT,
            )
        try:
            check_encodable({name: entry for name, entry in data.items() if name not in FILE_NAMES})
            config = RunConfig(
                task=str(data["task"]),
                data=_parse_settings(DataSettings, data["data"]),
                model=_parse_settings(ModelSettings, data["model"]),
                sizes=_parse_settings(Sizes, data["sizes"]),
                training=_parse_settings(TrainSettings, data["training"]),
                train_files=tuple(map(str, data["train_files"])),
                dev_file=None if data["dev_file"] is None else str(data["dev_file"]),
                pairs=tuple((source, target) for source, target in data["pairs"]),
                metrics={str(k): float(v) for k, v in data["metrics"].items()},
                start=None if data.get("start") is None else StartRecord.from_json(data["start"]),
            )
            TASKS.select(config.task)
            check_settings(config.data)
            check_bounds(config.model, config.training)
            check_cell_name(config.model.cell)
            return config
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            raise InputError(
                "config.json is not a configuration of ohlol: {error}", error=describe_error(error)
            ) from None


def _parse_settings(kind: type[T], data: Any) -> T:
    """A dataclass of plain values from JSON; each value must have the type of its field."""
    known = {f.name: f for f in fields(kind)}  # pyright: ignore[reportArgumentType]
    if not isinstance(data, dict) or set(data) - set(known):
        raise ValueError(f"{kind.__name__} has no setting {sorted(set(data) - set(known))}")
    settings = kind(**data)
    for name, f in known.items():
        value = getattr(settings, name)
        expected = expected_type(value, f) if get_origin(f.type) is not dict else None
        if expected is not None:
            raise ValueError(f"{name} is {value!r}, not {expected}")
    return settings


def sizes_from_codec(codec: Codec) -> Sizes:
    """The input and output sizes of a model for a vocabulary."""
    if codec.panel is not None:
        panel = codec.panel
        return Sizes(panel.inputs, panel.outputs, numeric=True, base=panel.outputs, counts=panel.is_count)
    outputs, kind = len(codec.target_columns if codec.labels is None else codec.labels), codec.kind
    flags = {name: getattr(kind, name) for name in ("per_sequence", "quantity", "multiple")}
    if codec.scale is not None:
        return Sizes(len(codec.columns), outputs, numeric=True, **flags)
    assert codec.symbols is not None
    chars = len(codec.chars) if codec.chars is not None else 0
    bigrams = len(codec.bigrams) if codec.bigrams is not None else 0
    vectors = codec.vectors
    return Sizes(
        len(codec.symbols),
        outputs,
        chars,
        bigrams,
        **flags,
        vector_size=0 if vectors is None else vectors.size,
        vector_words=0 if vectors is None else len(vectors.words),
        context_size=sum(lm.size for lm in codec.char_lms),
        static_size=codec.statics.size,
    )


def build_meta_model(config: RunConfig) -> SequenceModel:
    """The model of a configuration on the meta device: its shapes, without memory for its parameters."""
    with torch.device("meta"):
        return SequenceModel(config.model, config.sizes)
