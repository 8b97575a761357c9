"""Every setting a run has and its default, in one place; knows nothing of how a setting is used.

The command line, `ohlol.fit` and a run's `config.json` are all views of these three dataclasses.
"""

from dataclasses import dataclass

from ohlol.utils.errors import InputError, cut

TASKS = ("label", "next", "classify", "forecast")
LEVELS = ("char", "word")


@dataclass(frozen=True)
class DataSettings:
    """How a file is read. None means: inferred from the file."""

    task: str | None = None
    """One of `TASKS`."""
    format: str | None = None
    """The name of a reader."""
    level: str | None = None
    """What a symbol is: "char" (a code point after NFC) or "word"."""
    input: str | None = None
    """The input column, by name or by number from 1; for forecast, several, separated by commas."""
    target: str | None = None
    """The target column, likewise."""
    header: bool | None = None
    """Whether a CSV file's first row names its columns; without it, columns have numbers."""


CELLS = ("rnn", "gru", "lstm", "rnncell", "grucell", "lstmcell")
OPTIMIZERS = ("adam", "adamw", "rmsprop", "sgd")
SCHEDULES = ("constant", "cosine", "plateau", "onecycle")
PRECISIONS = ("fp32", "bf16", "fp16")


@dataclass(frozen=True)
class ModelSettings:
    """What the network is made of."""

    cell: str = "lstm"
    """One of `CELLS`; the names that end in "cell" run one step at a time in a Python loop."""
    hidden_size: int = 128
    """H, units in each layer and direction."""
    layers: int = 1
    """L, layers one upon the other."""
    bidirectional: bool = False
    """Whether a second set of layers reads the sequence from its end."""
    embedding: int = 64
    """Size of the vector of a symbol; 0 means one-hot."""
    spelling: int = 0
    """H of the character RNN that reads each word beside its embedding; 0 leaves it out."""
    bigrams: int = 0
    """Size of the vector of the pair a symbol forms with each neighbour (`label` over characters); 0 leaves it out."""
    dropout: float = 0.0
    """Share of units dropped between layers and before the head, in [0, 1)."""
    embedding_dropout: float = 0.0
    """Share of the encoder's outputs dropped, in [0, 1)."""
    head: bool = True
    """Whether a linear layer turns hidden states into scores; without it the hidden state itself is the scores."""
    tied: bool = False
    """For task `next`: whether the head's weight is the embedding's."""


@dataclass(frozen=True)
class TrainSettings:
    """How the weights are found."""

    epochs: int = 20
    """Passes over the training data at most."""
    batch_size: int = 32
    """B: sequences, or for `next` parallel streams, in a step."""
    bptt: int = 64
    """T of truncated backpropagation through time, for `next` and `forecast`."""
    optimizer: str = "adam"
    """One of `OPTIMIZERS`."""
    lr: float = 2e-3
    """Learning rate at its highest."""
    schedule: str = "cosine"
    """One of `SCHEDULES`."""
    warmup: int = 0
    """Steps over which the learning rate rises from 0."""
    clip: float = 1.0
    """Largest norm of the gradient; 0 leaves it as it is."""
    weight_decay: float = 0.0
    """Weight decay as the optimizer understands it."""
    label_smoothing: float = 0.0
    """Share of the target's probability spread over all labels, in [0, 1)."""
    class_weights: str = "none"
    """"none", or "balanced": each label weighs in inverse proportion to its frequency."""
    loss: str = "mean"
    """"mean" over the steps, or their "sum" (over the steps of a sequence, as in the tutorial's loop)."""
    unknown: float = 0.25
    """Strength a of <unk>: a symbol seen n times in training is read as <unk> with probability a / (a + n)."""
    patience: int = 0
    """Epochs without a better score after which training stops; 0 means never."""
    seed: int = 0
    """Of the initial weights, the order of the data and dropout."""
    dev_fraction: float = 0.1
    """Share of the data kept for measuring when no dev file is given, in [0, 0.5]."""
    checkpoint_every: str = "300s"
    """Between two saved states within an epoch: seconds ("300s") or steps ("200"); each epoch ends with one."""
    on_nan: str = "stop"
    """What a loss or gradient that is no number does: "stop" the run, or "skip" its step and count it."""
    precision: str = "fp32"
    """One of `PRECISIONS`: what the network's products are computed in; the weights are float32 in any."""
    deterministic: bool = False
    """Whether torch is held to deterministic algorithms, and the run says what that covers."""
    snapshots: bool = False
    """Whether the weights after each epoch are kept, to see the network learn."""


TUTORIAL_MODEL = ModelSettings(cell="rnn", hidden_size=4, embedding=0, head=False)
TUTORIAL_TRAIN = TrainSettings(lr=0.1, schedule="constant", clip=0.0, unknown=0.0, seed=1, dev_fraction=0.0)
"""The tutorial's own program: one-hot symbols, one tanh layer whose state is the logits, Adam at 0.1, 20 epochs.

The seed is 1, since 20 epochs are enough for about three seeds in four, and 0 is not among them.
"""


def defaults(task: str, level: str) -> tuple[ModelSettings, TrainSettings]:
    """What a file alone gets: settings that were found good on the data of `docs/results.md`.

    Raises:
        KeyError: no such task.
    """
    if task == "label" and level == "word":
        return (
            ModelSettings(
                hidden_size=200, bidirectional=True, embedding=100, spelling=64, dropout=0.5, embedding_dropout=0.4
            ),
            TrainSettings(epochs=15, batch_size=32, lr=2e-3),
        )
    return {
        "label": (
            ModelSettings(
                hidden_size=200, bidirectional=True, embedding=64, bigrams=64, dropout=0.4, embedding_dropout=0.4
            ),
            TrainSettings(epochs=12, batch_size=32, lr=2e-3),
        ),
        "next": (
            ModelSettings(hidden_size=512, embedding=64, dropout=0.3),
            TrainSettings(epochs=8, batch_size=32, bptt=64, lr=3e-3),
        ),
        "classify": (
            ModelSettings(
                cell="gru", hidden_size=128, bidirectional=True, embedding=64, dropout=0.4, embedding_dropout=0.2
            ),
            TrainSettings(epochs=15, batch_size=64, lr=3e-3),
        ),
        "forecast": (
            ModelSettings(cell="gru", hidden_size=64),
            TrainSettings(epochs=20, batch_size=16, bptt=64, lr=3e-3),
        ),
    }[task]


def check(model: ModelSettings, training: TrainSettings) -> None:
    """Refuse settings outside their range, naming the flag.

    Raises:
        InputError: the first that is.
    """
    for value, name, choices in (
        (model.cell, "cell", CELLS),
        (training.optimizer, "optimizer", OPTIMIZERS),
        (training.schedule, "schedule", SCHEDULES),
        (training.class_weights, "class-weights", ("none", "balanced")),
        (training.loss, "loss", ("mean", "sum")),
        (training.on_nan, "on-nan", ("stop", "skip")),
        (training.precision, "precision", PRECISIONS),
    ):
        if value not in choices:
            raise InputError(f"--{name} is {cut(repr(value))}; it must be one of {', '.join(choices)}")
    for owner, names, low, high in (
        (model, ("hidden_size",), 1, LARGEST),
        (model, ("layers",), 1, MOST_LAYERS),
        (model, ("embedding", "spelling", "bigrams"), 0, LARGEST),
        (training, ("epochs", "batch_size", "bptt"), 1, LARGEST),
        (training, ("warmup", "patience", "seed"), 0, 2**63 - 1),
        (training, ("clip", "weight_decay", "unknown"), 0.0, float("inf")),
        (training, ("dev_fraction",), 0.0, 0.5),
    ):
        for name in names:
            value = getattr(owner, name)
            if not low <= value <= high:
                bound = f"at least {low}" if value < low else f"at most {high}"
                raise InputError(f"--{name.replace('_', '-')} is {value}; it must be {bound}")
    for owner, names in ((model, ("dropout", "embedding_dropout")), (training, ("label_smoothing",))):
        for name in names:
            if not 0 <= getattr(owner, name) < 1:
                raise InputError(f"--{name.replace('_', '-')} is {getattr(owner, name)}; it must be in [0, 1)")
    if not 0 < training.lr < float("inf"):
        raise InputError(f"--lr is {training.lr}; it must be greater than 0")
    every(training.checkpoint_every)


def every(text: str) -> tuple[int | None, int | None]:
    """The steps, or the seconds, that `checkpoint_every` means.

    Raises:
        InputError: it is neither.

    >>> every("200"), every("300s")
    ((200, None), (None, 300))
    """
    digits = text.removesuffix("s")
    if not digits.isascii() or not digits.isdecimal() or len(digits) > DIGITS or text == "0":
        raise InputError(f"--checkpoint-every is {text[:40]!r}; give steps, such as 200, or seconds, such as 300s")
    return (None, int(digits)) if text.endswith("s") else (int(digits), None)


DIGITS = 9
"""Of the number in `checkpoint_every`: more would be thirty years."""
MOST_LAYERS = 256
"""Far more than any recurrent network has; each is built one by one, so a number of millions would take minutes."""
LARGEST = 1 << 20
"""Of any size: a larger one is a slip of the hand, and would not fit into memory."""
