"""The settings of a run, their defaults and their bounds.

The options of the command line, the keywords of `ohlol.fit` and the run's `config.json` have the names of these fields.
"""

from collections.abc import Iterable, Mapping
from dataclasses import Field, asdict, dataclass
from typing import Any, cast, get_args

from ohlol.utils.digits import parse_digits
from ohlol.utils.errors import InputError, shorten
from ohlol.utils.translation import join_list, message_id, translate

LEVELS = ("char", "word")
LAYOUTS = ("long", "wide")
COLUMN_SETTINGS = ("input", "target", "time", "series", "known", "observed", "static")
"""The settings that choose columns."""
DECIMAL_MARKS = (".", ",")
DATE_ORDERS = ("ymd", "dmy", "mdy")
"""Orders of the year, the month and the day in dates of numbers."""
THOUSANDS_MARKS = (",", ".", " ", "'", "_")
"""A space stands for any space, and ' for the typographic apostrophe too."""


@dataclass(frozen=True)
class DataSettings:
    """How a file is read; None means that it is inferred from the file."""

    task: str | None = None
    """The name of a task; `next` predicts the next symbol of a text: a language model."""
    format: str | None = None
    """The name of a reader."""
    level: str | None = None
    """What a symbol is: "char" (a code point after NFC) or "word"."""
    input: str | None = None
    """The input column, by name or by number from 1; for forecasts several, separated by commas."""
    target: str | None = None
    """The target column, likewise."""
    header: bool | None = None
    """Whether the first row of a CSV file contains the names of its columns."""
    decimal: str | None = None
    """The decimal mark of numbers in a text file, one of `DECIMAL_MARKS`; None means the point."""
    thousands: str | None = None
    """The thousands separator of numbers in a text file, one of `THOUSANDS_MARKS`; None means that they have none."""
    date_order: str | None = None
    """One of `DATE_ORDERS`: the order of the numbers in dates such as 01/02/2020; None means that the dates say it."""
    missing: str | None = None
    """Cells of a table that stand for a missing value, such as -999, separated by commas."""
    label_separator: str | None = None
    """What separates the labels of a set in a text file."""
    sheet: str | None = None
    """The sheet of an Excel file of several, by name or by number from 1."""
    reversed: bool | None = None
    """Whether a text is read from its end to its beginning, for a language model of the other direction."""
    encoding: str | None = None
    """The encoding of the files; None means UTF-8, or that of a byte order mark."""
    time: str | None = None
    """The column of dates or of integers that count the steps; "" for rows that are only counted.

    Several, separated by commas, hold a date and a time of day, or year, month and so on."""
    series: str | None = None
    """The column that names the series of each row; several are separated by commas; "" reads all rows as one."""
    known: str | None = None
    """Columns of numbers that are known for the steps to forecast, separated by commas."""
    observed: str | None = None
    """Columns of numbers that are known up to the present, separated by commas."""
    static: str | None = None
    """Columns that do not change within a sequence, separated by commas: categories of a series that is forecast, or
    categories and numbers beside a text with one target."""
    layout: str | None = None
    """One of `LAYOUTS`: "long" where a row is a time step, "wide" where a row is a series."""
    season: int | None = None
    """Time steps of a season, such as 12 for months; 1 means that there is none, None that the dates say it."""
    horizon: int | None = None
    """Time steps to forecast; None means one season."""

    def columns(self) -> dict[str, str]:
        """The settings that choose columns, by name, without those that choose none."""
        return {name: columns for name in COLUMN_SETTINGS if (columns := getattr(self, name))}

    def to_json(self) -> dict[str, Any]:
        """The settings by name, as files hold them: without those that are None where they are not chosen."""
        always = ("task", "format", "level", "input", "target", "header")
        return {name: value for name, value in asdict(self).items() if value is not None or name in always}


OPTIMIZERS = ("adam", "adamw", "rmsprop", "sgd")
LR_SCHEDULES = ("constant", "cosine", "plateau", "onecycle")
CLASS_WEIGHTS = ("none", "balanced")
LOSS_REDUCTIONS = ("mean", "sum")
NAN_ACTIONS = ("stop", "skip")
FULL_PRECISION = "fp32"
PRECISIONS = (FULL_PRECISION, "bf16", "fp16")
INFERENCE_PRECISIONS = (FULL_PRECISION, "bf16", "int8")
"""Of the recurrent weights of a trained model on the CPU."""
POOLINGS = ("last", "mean", "max", "attention")
VECTORS_TRAINING = ("frozen", "tuned", "late")
WEIGHT_AVERAGING = ("none", "ema", "nt_asgd")


@dataclass(frozen=True)
class ModelSettings:
    """The architecture of the network."""

    cell: str = "lstm"
    """The name of a cell."""
    loop: bool = False
    """Whether the cell is called in a Python loop over the time steps, instead of a layer over the whole sequence."""
    hidden_size: int = 128
    """H, hidden units per layer and direction; at least 1."""
    num_layers: int = 1
    """L, stacked recurrent layers; at least 1."""
    bidirectional: bool = False
    """Whether each layer also reads the sequence backward."""
    embedding_size: int = 64
    """Size of the embedding of a symbol; 0 means one-hot vectors or, with `vectors`, none."""
    vectors: str | None = None
    """A file of pretrained word vectors, which stand beside the embedding; None means none.

    In Python also gensim's `KeyedVectors`, a dict of words and arrays, or a data frame with the words as its index."""
    vectors_training: str = "tuned"
    """One of `VECTORS_TRAINING`: "frozen" keeps the vectors as they are, "tuned" trains those of the words of the
    training data, and "late" trains them in the second half of the epochs."""
    vectors_limit: int = 100_000
    """Words of the file, from its start, that the run keeps in addition to those of the training data; at least 0."""
    char_rnn_size: int = 0
    """Hidden units of the character RNN that reads each word, in addition to its embedding; 0 means none."""
    char_lm: str | None = None
    """Runs of language models over characters, separated by a comma, whose states at each word are read; None: none.

    One reads a text forward, the other one, trained with `reversed`, backward; either may be left out."""
    bigram_size: int = 0
    """Size of the embedding of each of the two bigrams of a character with its neighbours; 0 means none."""
    dropout: float = 0.0
    """Probability of dropout between layers and before the head, in [0, 1)."""
    embedding_dropout: float = 0.0
    """Probability of dropout on the output of the encoder, in [0, 1)."""
    pooling: str = "last"
    """One of `POOLINGS`: what the head reads where a sequence has one prediction, of the outputs of all its steps.

    "last" is the last output of each direction, "attention" a sum weighted by a learned query."""
    locked_dropout: bool = False
    """Whether dropout draws one mask for each sequence, the same at all its steps, instead of one for each step."""
    word_dropout: float = 0.0
    """Probability that a symbol has zeros instead of its embedding and its word vector in a batch, in [0, 1)."""
    weight_dropout: float = 0.0
    """Probability that a recurrent weight is zero in a batch (DropConnect), in [0, 1)."""
    head: str = "softmax"
    """The name of a head, which turns hidden states into logits, and logits into loss and predictions."""
    tie_weights: bool = False
    """Whether the weight of the head is that of the embedding (task `next`)."""


ARCHITECTURE = (
    "cell",
    "loop",
    "hidden_size",
    "num_layers",
    "bidirectional",
    "embedding_size",
    "vectors",
    "char_rnn_size",
    "char_lm",
    "bigram_size",
)
"""The settings of a model that are those of the run that it starts from: its encoder and layers have these weights."""


@dataclass(frozen=True)
class TrainSettings:
    """The training of the network."""

    epochs: int = 20
    """Largest number of passes over the training data; at least 1, or 0 for as many as fit into `minutes`."""
    minutes: float = 0.0
    """Minutes after which training ends; 0 means that `epochs` alone decide.

    The schedule of the learning rate then ends with the time. The result depends on the speed of the machine."""
    batch_size: int = 32
    """B, the sequences of a training step, or parallel streams of text for task `next`; at least 1."""
    bptt: int = 64
    """Time steps of truncated backpropagation through time (BPTT), for texts and series of numbers; at least 1.

    Gradients flow through so many time steps. For `next` the hidden state is carried over to the steps that follow; for
    `forecast` and `next_row` each window starts from zeros. A forecast reads so many rows."""
    optimizer: str = "adam"
    """One of `OPTIMIZERS`."""
    lr: float = 2e-3
    """Highest learning rate; above 0."""
    lr_schedule: str = "cosine"
    """One of `LR_SCHEDULES`."""
    warmup_steps: int = 0
    """Steps over which the learning rate rises from 0."""
    max_grad_norm: float = 1.0
    """The norm to which gradients are clipped; 0 means that they are not."""
    weight_decay: float = 0.0
    """The weight decay of the optimizer; at least 0."""
    label_smoothing: float = 0.0
    """Share of the target's probability that is spread over all labels, in [0, 1)."""
    activation_regularization: float = 0.0
    """AR: factor of the mean square of what the head reads, after dropout, in the loss; at least 0."""
    temporal_activation_regularization: float = 0.0
    """TAR: factor of the mean square of how the output of the layers changes from step to step; at least 0."""
    class_weights: str = "none"
    """One of `CLASS_WEIGHTS`; "balanced" weighs each label by the inverse of its frequency."""
    loss_reduction: str = "mean"
    """One of `LOSS_REDUCTIONS`: "mean" over the predictions of a batch, or "sum" over those of a sequence.

    Sums are averaged over the sequences of the batch."""
    weight_averaging: str = "none"
    """One of `WEIGHT_AVERAGING`: which mean of the weights over the steps is evaluated and kept as the best weights.

    "ema" is the exponential moving average. "nt_asgd" is the mean since the validation loss stopped falling: since it
    was higher than the lowest one of more than five epochs before."""
    ema_decay: float = 0.999
    """Decay per step of the exponential moving average, in [0, 1)."""
    unk_probability: float = 0.2
    """Probability p, in [0, 1), that a symbol seen once in the training data is read as <unk>; 0 means no <unk>.

    A symbol seen n times is read as <unk> with probability a / (a + n), where a = p / (1 - p)."""
    patience: int = 0
    """Epochs without an improvement of the main metric after which training stops; 0 means never."""
    seed: int = 0
    """The seed of initial weights, order of the data and dropout; at least 0."""
    dev_fraction: float = 0.1
    """Share of the data that becomes the validation data where no `dev` file is given, in [0, 0.5]."""
    checkpoint_every: str = "300s"
    """Seconds ("300s") or steps ("200") between two saved states within an epoch; each epoch ends with one."""
    on_nan: str = "stop"
    """One of `NAN_ACTIONS`: what happens where a loss or a gradient is not finite; "skip" skips and counts the step."""
    precision: str = FULL_PRECISION
    """One of `PRECISIONS`, of the network's products; the weights are float32 in any case."""
    deterministic: bool = False
    """Whether torch uses deterministic algorithms."""
    snapshots: bool = False
    """Whether the weights after each epoch are kept."""
    freeze: str | None = None
    """Parts of a model that starts from a run which are not trained: names, separated by commas, or how many.

    The parts are "encoder", "layer1" and so on, and "head"; "layers" are all layers. A number counts from the encoder
    on."""
    layer_lr_factor: float = 1.0
    """Learning rate of a part divided by that of the part above it, in (0, 1]; the head has `lr`."""
    unfreeze_epochs: int = 0
    """Epochs after which one more part is trained, from the head downward; 0 trains all parts from the first step."""


DYNAMIC_OPTIMIZERS = ("rms", "sgd")
DYNAMIC_LR = {"rms": 1e-3, "sgd": 0.1}
"""The learning rate of each, where none is chosen."""


@dataclass(frozen=True)
class DynamicSettings:
    """Dynamic evaluation: how a language model adapts to the text that it is measured on; no part of a run.

    Raises:
        InputError: a setting is out of its bounds.
    """

    dynamic_optimizer: str = "rms"
    """One of `DYNAMIC_OPTIMIZERS`; "rms" divides each gradient by the root of its mean square in the text so far."""
    dynamic_lr: float | None = None
    """The learning rate; above 0, or None for that of `DYNAMIC_LR`."""
    dynamic_decay: float = 1e-3
    """Share of the way back to the weights of the run after each segment, in [0, 1)."""
    dynamic_steps: int = 20
    """Time steps of a segment; at least 1."""

    def __post_init__(self) -> None:
        check_choice(self.dynamic_optimizer, "dynamic_optimizer", DYNAMIC_OPTIMIZERS)
        if not 0 < self.lr < float("inf"):
            raise InputError("`dynamic_lr` is {lr}; it must be greater than 0", lr=self.lr)
        if not 0 <= self.dynamic_decay < 1:
            raise InputError(
                "`dynamic_decay` is {dynamic_decay}; it must be in [0, 1)", dynamic_decay=self.dynamic_decay
            )
        if not 1 <= self.dynamic_steps <= MAX_SIZE:
            bound = (
                translate("at least {low}", low=1)
                if self.dynamic_steps < 1
                else translate("at most {high}", high=MAX_SIZE)
            )
            raise InputError(
                "`dynamic_steps` is {dynamic_steps}; it must be {bound}", dynamic_steps=self.dynamic_steps, bound=bound
            )

    @property
    def lr(self) -> float:
        """The learning rate."""
        return DYNAMIC_LR[self.dynamic_optimizer] if self.dynamic_lr is None else self.dynamic_lr

    def __str__(self) -> str:
        return f"{self.dynamic_optimizer}, lr {self.lr:g}, decay {self.dynamic_decay:g}, {self.dynamic_steps} steps"


FINE_TUNING = ("freeze", "layer_lr_factor", "unfreeze_epochs")
"""The settings of training that only a run that starts from another one has."""
TUTORIAL_MODEL = ModelSettings(cell="rnn", hidden_size=4, embedding_size=0, head="identity")
TUTORIAL_TRAIN = TrainSettings(
    lr=0.1, lr_schedule="constant", max_grad_norm=0.0, unk_probability=0.0, seed=1, dev_fraction=0.0
)
"""The settings of `ohlol train` without data, as in docs/tutorial.md, which learns `hello` -> `ohlol`.

The symbols are one-hot, the state of the single tanh layer is the logits, and the learning rate of Adam is 0.1. With
seed 0, as with about one seed in four, the word is not learned in 20 epochs; with seed 1 it is.
"""

"""Digits of the number in `checkpoint_every`; more would be thirty years."""
MAX_LAYERS = 256
"""Far above any recurrent network; layers are created one by one, so that millions of them would take minutes."""
MAX_SIZE = 1 << 20
"""Of any size; a larger network would not fit into memory."""
MAX_MINUTES = 60 * 24 * 366
"""A year."""
MAX_PENALTY = 1e6
"""Far above any useful factor of a penalty, which would leave nothing of the loss."""
MAX_VECTORS = 1 << 22
"""Word vectors of a run; the largest public files have three million, and vocab.json lists them."""


TYPE_NAMES: dict[Any, str] = {
    str: message_id("a string"),
    int: message_id("an integer"),
    float: message_id("a number"),
    bool: message_id("True or False"),
}
"""How messages name the types of settings."""
CLASS_ADVICE = message_id(
    ": a cell, head, task or reader is registered, and chosen by its name; a cell may also be named as "
    "package.module:Class, which is imported"
)
"""What a message adds where a class stands for its name."""


def check_bounds(model: ModelSettings, training: TrainSettings) -> None:
    """Check that settings are within their bounds.

    Raises:
        InputError: for the first that is not.
    """
    for value, name, choices in (
        (training.optimizer, "optimizer", OPTIMIZERS),
        (training.lr_schedule, "lr_schedule", LR_SCHEDULES),
        (training.class_weights, "class_weights", CLASS_WEIGHTS),
        (training.loss_reduction, "loss_reduction", LOSS_REDUCTIONS),
        (training.on_nan, "on_nan", NAN_ACTIONS),
        (training.precision, "precision", PRECISIONS),
        (training.weight_averaging, "weight_averaging", WEIGHT_AVERAGING),
        (model.vectors_training, "vectors_training", VECTORS_TRAINING),
        (model.pooling, "pooling", POOLINGS),
    ):
        check_choice(value, name, choices)
    for owner, names, low, high in (
        (model, ("hidden_size",), 1, MAX_SIZE),
        (model, ("num_layers",), 1, MAX_LAYERS),
        (model, ("embedding_size", "char_rnn_size", "bigram_size"), 0, MAX_SIZE),
        (model, ("vectors_limit",), 0, MAX_VECTORS),
        (training, ("minutes",), 0, MAX_MINUTES),
        (training, ("epochs",), 0 if training.minutes else 1, MAX_SIZE),
        (training, ("batch_size", "bptt"), 1, MAX_SIZE),
        (training, ("warmup_steps", "patience", "seed", "unfreeze_epochs"), 0, 2**63 - 1),
        (training, ("max_grad_norm", "weight_decay"), 0, float("inf")),
        (training, ("activation_regularization", "temporal_activation_regularization"), 0, MAX_PENALTY),
        (training, ("dev_fraction",), 0, 0.5),
    ):
        for name in names:
            value = getattr(owner, name)
            if not low <= value <= high:
                bound = translate("at least {low}", low=low) if value < low else translate("at most {high}", high=high)
                raise InputError("`{name}` is {value}; it must be {bound}", name=name, value=value, bound=bound)
    for owner, names in (
        (model, ("dropout", "embedding_dropout", "word_dropout", "weight_dropout")),
        (training, ("label_smoothing", "ema_decay", "unk_probability")),
    ):
        for name in names:
            if not 0 <= getattr(owner, name) < 1:
                raise InputError("`{name}` is {value}; it must be in [0, 1)", name=name, value=getattr(owner, name))
    if not 0 < training.lr < float("inf"):
        raise InputError("`lr` is {lr}; it must be greater than 0", lr=training.lr)
    if not 0 < training.layer_lr_factor <= 1:
        raise InputError(
            "`layer_lr_factor` is {layer_lr_factor}; it must be above 0 and at most 1",
            layer_lr_factor=training.layer_lr_factor,
        )
    parse_interval(training.checkpoint_every)


def expected_type(value: object, setting: Field[Any]) -> str | None:
    """What a value must be to have the type of a setting, such as "an integer"; None where it has the type."""
    types = get_args(setting.type) or (setting.type,)
    for one in types:
        has_type = isinstance(value, cast("type", one)) or (one is float and isinstance(value, int))
        if has_type and isinstance(value, bool) == (one is bool):  # True is an int, too
            return None
    return translate(TYPE_NAMES[types[0]])


def check_types(values: Mapping[str, object], settings: Mapping[str, Field[Any]]) -> None:
    """Check that values have the types of the settings of their names; raises InputError."""
    for name, value in values.items():
        expected = expected_type(value, settings[name])
        if expected is not None:
            raise InputError(
                "`{name}` is {value}; it must be {expected}{advice}",
                name=name,
                value=shorten(repr(value)),
                expected=expected,
                advice=translate(CLASS_ADVICE) * callable(value),
            )


def check_choice(value: str, name: str, choices: Iterable[str]) -> None:
    """Check that a setting is one of its choices.

    Raises:
        InputError: it is not.
    """
    if value not in choices:
        raise InputError(
            "`{name}` is {value}; it must be one of {choices}",
            name=name,
            value=shorten(repr(value)),
            choices=join_list(choices),
        )


def parse_interval(text: str) -> tuple[int | None, int | None]:
    """The steps, or the seconds, of `checkpoint_every`.

    Raises:
        InputError: it is neither.

    >>> parse_interval("200"), parse_interval("300s")
    ((200, None), (None, 300))
    """
    interval = parse_digits(text.removesuffix("s"))
    if interval is None or text == "0":
        raise InputError(
            "`checkpoint_every` is {text!r}; give steps, such as 200, or seconds, such as 300s", text=text[:40]
        )
    return (None, interval) if text.endswith("s") else (interval, None)
