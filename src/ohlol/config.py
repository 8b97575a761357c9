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


CELLS = ("rnn", "rnn_relu", "gru", "lstm")
"""The cells that ohlol brings; a user's own is registered in `ohlol.cells.CELLS`."""
OPTIMIZERS = ("adam", "adamw", "rmsprop", "sgd")
LR_SCHEDULES = ("constant", "cosine", "plateau", "onecycle")
PRECISIONS = ("fp32", "bf16", "fp16")


@dataclass(frozen=True)
class ModelSettings:
    """What the network is made of."""

    cell: str = "lstm"
    """The name of a registered cell."""
    loop: bool = False
    """Whether the cell runs one time step after the other in a Python loop."""
    hidden_size: int = 128
    """H, units in each layer and direction."""
    num_layers: int = 1
    """L, stacked recurrent layers."""
    bidirectional: bool = False
    """Whether a second set of layers reads the sequence from its end."""
    embedding_size: int = 64
    """Size of the embedding of a symbol; 0 means one-hot."""
    char_rnn_size: int = 0
    """Hidden size of the character RNN that reads each word, beside its embedding; 0 means none."""
    bigram_size: int = 0
    """Size of the embedding of a symbol and its neighbour, one for each side (task label, by character); 0: none."""
    dropout: float = 0.0
    """Share of units dropped between layers and before the head, in [0, 1)."""
    embedding_dropout: float = 0.0
    """Share of the encoder's outputs dropped, in [0, 1)."""
    head: str = "softmax"
    """The name of a head: what turns hidden states into logits, and these into loss and answers."""
    tie_weights: bool = False
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
    lr_schedule: str = "cosine"
    """One of `LR_SCHEDULES`."""
    warmup_steps: int = 0
    """Steps over which the learning rate rises from 0."""
    max_grad_norm: float = 1.0
    """Largest norm of the gradient; 0 leaves it as it is."""
    weight_decay: float = 0.0
    """Weight decay as the optimizer understands it."""
    label_smoothing: float = 0.0
    """Share of the target's probability spread over all labels, in [0, 1)."""
    class_weights: str = "none"
    """"none", or "balanced": each label weighs in inverse proportion to its frequency."""
    loss_reduction: str = "mean"
    """"mean" over the steps, or their "sum" (over the steps of a sequence, as in the tutorial's loop)."""
    unk_probability: float = 0.2
    """Probability, in [0, 1), that a symbol seen once in the training data is read as <unk>; 0 means no <unk>.

    A symbol seen n times is read as <unk> with probability a / (a + n), where a = p / (1 - p)."""
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


TUTORIAL_MODEL = ModelSettings(cell="rnn", hidden_size=4, embedding_size=0, head="identity")
TUTORIAL_TRAIN = TrainSettings(
    lr=0.1, lr_schedule="constant", max_grad_norm=0.0, unk_probability=0.0, seed=1, dev_fraction=0.0
)
"""The tutorial's own program: one-hot symbols, one tanh layer whose state is the logits, Adam at 0.1, 20 epochs.

The seed is 1, since 20 epochs are enough for about three seeds in four, and 0 is not among them.
"""


def check(model: ModelSettings, training: TrainSettings) -> None:
    """Refuse settings outside their range.

    Raises:
        InputError: the first that is.
    """
    for value, name, choices in (
        (training.optimizer, "optimizer", OPTIMIZERS),
        (training.lr_schedule, "lr_schedule", LR_SCHEDULES),
        (training.class_weights, "class_weights", ("none", "balanced")),
        (training.loss_reduction, "loss_reduction", ("mean", "sum")),
        (training.on_nan, "on_nan", ("stop", "skip")),
        (training.precision, "precision", PRECISIONS),
    ):
        if value not in choices:
            raise InputError(f"`{name}` is {cut(repr(value))}; it must be one of {', '.join(choices)}")
    for owner, names, low, high in (
        (model, ("hidden_size",), 1, LARGEST),
        (model, ("num_layers",), 1, MOST_LAYERS),
        (model, ("embedding_size", "char_rnn_size", "bigram_size"), 0, LARGEST),
        (training, ("epochs", "batch_size", "bptt"), 1, LARGEST),
        (training, ("warmup_steps", "patience", "seed"), 0, 2**63 - 1),
        (training, ("max_grad_norm", "weight_decay"), 0.0, float("inf")),
        (training, ("dev_fraction",), 0.0, 0.5),
    ):
        for name in names:
            value = getattr(owner, name)
            if not low <= value <= high:
                bound = f"at least {low}" if value < low else f"at most {high}"
                raise InputError(f"`{name}` is {value}; it must be {bound}")
    for owner, names in ((model, ("dropout", "embedding_dropout")), (training, ("label_smoothing", "unk_probability"))):
        for name in names:
            if not 0 <= getattr(owner, name) < 1:
                raise InputError(f"`{name}` is {getattr(owner, name)}; it must be in [0, 1)")
    if not 0 < training.lr < float("inf"):
        raise InputError(f"`lr` is {training.lr}; it must be greater than 0")
    parse_interval(training.checkpoint_every)


def parse_interval(text: str) -> tuple[int | None, int | None]:
    """The steps, or the seconds, that `checkpoint_every` means.

    Raises:
        InputError: it is neither.

    >>> parse_interval("200"), parse_interval("300s")
    ((200, None), (None, 300))
    """
    digits = text.removesuffix("s")
    if not digits.isascii() or not digits.isdecimal() or len(digits) > DIGITS or text == "0":
        raise InputError(f"`checkpoint_every` is {text[:40]!r}; give steps, such as 200, or seconds, such as 300s")
    return (None, int(digits)) if text.endswith("s") else (int(digits), None)


DIGITS = 9
"""Of the number in `checkpoint_every`: more would be thirty years."""
MOST_LAYERS = 256
"""Far more than any recurrent network has; each is built one by one, so a number of millions would take minutes."""
LARGEST = 1 << 20
"""Of any size: a larger one is a slip of the hand, and would not fit into memory."""
