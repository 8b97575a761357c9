"""Every limit of the server and its default, in one place; knows nothing of how a limit is kept."""

from dataclasses import dataclass

from ohlol.utils.errors import InputError


@dataclass(frozen=True)
class Limits:
    """What one server takes at most. Sizes are counts unless a name says bytes, times are seconds."""

    body_bytes: int = 1 << 20
    """Of a request's body; more gets 413."""
    sequences: int = 64
    """In one predict request; more gets 422."""
    symbols: int = 10_000
    """Of one sequence, or rows of a series; more gets 422."""
    work: int = 1 << 17
    """Of one request, and of one batch: symbols, or letters of words that are spelled, or labels to be named if those
    are more (`n_best` of each step). More in a request gets 422. It bounds the time and the memory of a batch."""
    length: int = 10_000
    """Symbols that one generate request may ask for; more gets 422."""
    queue: int = 256
    """Sequences of one model that wait for a batch; more gets 429."""
    batch: int = 64
    """Sequences in one batch."""
    batch_wait: float = 0.002
    """How long the first of a batch waits for others."""
    wait: float = 30.0
    """From a request's admission to its batch; longer gets 429."""
    side: int = 2
    """Explanations, forecasts and pieces of generated text worked on at once, beside the batches."""
    side_queue: int = 16
    """Generations, explanations and forecasts admitted at once; more gets 429."""
    explained: int = 500
    """Symbols of a sequence to explain; more gets 422."""
    explained_numbers: int = 1 << 19
    """Numbers in one explanation as JSON, and eight times as many worked out for a page; more gets 422."""
    remembered: int = 50_000_000
    """How far an explanation may look for what mattered: symbols squared times numbers a symbol, a second or two."""
    sessions: int = 256
    """WebSocket streams open at once; more gets 429 in place of the handshake."""
    idle: float = 300.0
    """Without a message from its client, a stream is closed, and its state handed over as a token."""
    message_bytes: int = 1 << 18
    """Of a WebSocket message; a larger one ends the session with code 1009."""
    header_seconds: float = 10.0
    """From a connection's first moment, or a request's first byte, to the end of its headers; longer gets 408."""
    body_seconds: float = 30.0
    """From the end of the headers to that of the body; longer gets 408."""
    write_seconds: float = 30.0
    """A client that takes nothing of its answer for so long is cut off."""
    keep_alive_seconds: float = 30.0
    """Between a response and the next request on its connection; longer closes it."""
    header_bytes: int = 1 << 16
    """Of a request's line and headers; more gets 431."""
    connections: int = 2048
    """Open at once; more get 503."""
    grace: float = 30.0
    """For what is in flight when the server stops."""
    trainings: int = 4
    """Trainings of the page at once; more get 429."""
    train_pairs: int = 8
    train_symbols: int = 24
    """Of one side of a pair."""
    train_epochs: int = 500
    train_hidden: int = 64
    train_seconds: float = 60.0
    """Of work; the pauses between epochs, which the page asks for to watch them, come on top."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            least = 0 if name in ("batch_wait", "trainings") else 1e-3
            if not least <= value < 1 << 40:
                raise InputError(f"--{name.replace('_', '-')} is {value}; it must be a number above {least:g}")
