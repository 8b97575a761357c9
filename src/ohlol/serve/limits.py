"""Every limit of the server, with its default."""

from dataclasses import dataclass

from ohlol.utils.errors import InputError


@dataclass(frozen=True)
class Limits:
    """What one server accepts at most. Sizes are counts unless the description says bytes; times are in seconds."""

    max_body: int = 1 << 20
    """Bytes of a request's body; more gets 413."""
    max_sequences: int = 64
    """Sequences in one predict request; more gets 422."""
    max_length: int = 10_000
    """Symbols of one sequence, or rows of a series; more gets 422."""
    max_work: int = 1 << 17
    """Work of one request, and of one batch: symbols, or characters of words for a model that reads them, or labels in
    the response if those are more (`n_best` of each step). More in a request gets 422. It bounds time and memory of a
    batch."""
    max_generated: int = 10_000
    """Symbols of one generate request; more gets 422."""
    max_queue: int = 256
    """Sequences of one model that wait for a batch; more gets 429."""
    batch_size: int = 64
    """Sequences in one batch."""
    batch_wait: float = 0.002
    """How long the first sequence of a batch waits for others."""
    timeout: float = 30.0
    """How long a sequence waits for its batch; longer gets 429."""
    side_threads: int = 2
    """Explanations, forecasts and pieces of generated text that are computed at once, in addition to the batches."""
    side_requests: int = 16
    """Generations, explanations and forecasts that are accepted at once; more gets 429."""
    max_explained: int = 500
    """Symbols of a sequence to explain; more gets 422."""
    max_explained_numbers: int = 1 << 19
    """Numbers in one explanation as JSON, and eight times as many computed for a page; more gets 422."""
    max_saliency: int = 50_000_000
    """Cost of the saliency in an explanation: symbols squared, times numbers for each symbol; a second or two."""
    max_sessions: int = 256
    """WebSocket streams that are open at once; more gets 429 in place of the handshake."""
    idle: float = 300.0
    """How long a stream waits for a message before it is closed and its state sent as a token."""
    max_message: int = 1 << 18
    """Bytes of a WebSocket message; a larger one ends the session with code 1009."""
    header_seconds: float = 10.0
    """From the start of a connection, or the first byte of a request, to the end of the headers; longer gets 408."""
    body_seconds: float = 30.0
    """From the end of the headers to the end of the body; longer gets 408."""
    write_seconds: float = 30.0
    """How long a client may take nothing of its response; longer closes the connection."""
    keep_alive_seconds: float = 30.0
    """Between a response and the next request on its connection; longer closes the connection."""
    max_header: int = 1 << 16
    """Bytes of a request's first line and headers; more gets 431."""
    max_connections: int = 2048
    """Connections that are open at once; more get 503."""
    grace: float = 30.0
    """How long running requests may take when the server stops."""
    trainings: int = 4
    """Trainings of the page at once; more get 429."""
    train_pairs: int = 8
    train_symbols: int = 24
    """Symbols of one side of a pair."""
    train_epochs: int = 500
    train_hidden: int = 64
    train_seconds: float = 60.0
    """Computing time of a training. The pauses between epochs, which the page requests, are added to it."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            least = 0 if name in ("batch_wait", "trainings") else 1e-3
            if not least <= value < 1 << 40:
                raise InputError(
                    "{name} is {value}; it must be a number from {least:g}", name=name, value=value, least=least
                )
