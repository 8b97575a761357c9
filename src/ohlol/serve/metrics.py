"""The metrics of a server, in the Prometheus format."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The counters of one server, in their own registry."""

    def __init__(self) -> None:
        r = self.registry = CollectorRegistry()
        self.requests = Counter("ohlol_requests_total", "Answered requests.", ("route", "method", "status"), registry=r)
        self.seconds = Histogram(
            "ohlol_request_seconds", "From a request's headers to the end of its response.", ("route",),
            buckets=SECONDS, registry=r,
        )  # fmt: skip
        self.batch_size = Histogram("ohlol_batch_size", "Sequences in a batch.", ("model",), buckets=SIZES, registry=r)
        self.batch_seconds = Histogram(
            "ohlol_batch_seconds", "Computing time of a batch.", ("model",), buckets=SECONDS, registry=r
        )
        self.waiting = Gauge("ohlol_waiting", "Sequences that wait for a batch.", ("model",), registry=r)
        self.sessions = Gauge("ohlol_sessions", "Open WebSocket streams.", registry=r)
        self.steps = Counter("ohlol_stream_steps_total", "Symbols read by streams.", ("model",), registry=r)
        self.generated = Counter("ohlol_generated_symbols_total", "Symbols generated.", ("model",), registry=r)
        self.trainings = Gauge("ohlol_trainings", "Trainings of the page that run.", registry=r)
        self.reloads = Counter("ohlol_reloads_total", "Models read again.", ("model", "result"), registry=r)

    def observe_batch(self, model: str, size: int, seconds: float) -> None:
        """Count a batch that was computed."""
        self.batch_size.labels(model).observe(size)
        self.batch_seconds.labels(model).observe(seconds)

    def to_text(self) -> bytes:
        """All metrics, as Prometheus reads them."""
        return generate_latest(self.registry)
