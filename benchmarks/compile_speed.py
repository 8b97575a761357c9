"""Models of accelerated layers in `torch.compile` against the same models without it.

    python benchmarks/compile_speed.py [--models NAME ...] [--sizes TxBxH ...] [--symbols V] [--seconds S]
        [--backend NAME] [--quick]

A compiled call is a model with its loss; a training step is that call and `backward()`, without an optimizer. Steps
with and without a compiler take turns in one thread. The times are medians, of the processor and, after "wall", of the
clock.
The model `none` has no recurrent layer, so that its line is what torch's compiler itself takes or saves. The first line
of a model is its compilation with an empty cache: seconds of the clock, of this process and of the C++ compiler.
"""

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from timing import parse_arguments
from torch import Tensor
from torch._inductor.utils import fresh_cache
from torch.nn.functional import cross_entropy

import ohlol
from ohlol import nn

LABELS = 20
"""Those of the other models; a language model has as many as symbols."""


class PlainLSTM(torch.nn.Module):
    """A user's cell: the equations of torch.nn.LSTM."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.input_size, self.hidden_size, self.state_sizes = input_size, hidden_size, (hidden_size, hidden_size)
        self.ih = torch.nn.Linear(input_size, 4 * hidden_size)
        self.hh = torch.nn.Linear(hidden_size, 4 * hidden_size)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """One step."""
        h, c = state
        i, f, g, o = (self.ih(x) + self.hh(h)).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class Model(torch.nn.Module):
    """The loss of labels for each step: symbols as vectors, the layers, a linear head."""

    def __init__(self, kind: str, H: int, V: int):
        super().__init__()
        self.kind, self.hidden_size = kind, H
        self.embedding = torch.nn.Embedding(V, H)
        layers: dict[str, Callable[[], torch.nn.Module]] = {
            "tagger": lambda: torch.nn.LSTM(H, H, 2, bidirectional=True),
            "language": lambda: torch.nn.GRU(H, H),
            "user": lambda: nn.Recurrent(lambda size: PlainLSTM(size, H), 2, bidirectional=True, input_size=H),
        }
        self.layers = layers[kind]() if kind in layers else None
        self.labels = V if kind == "language" else LABELS
        self.head = torch.nn.Linear(2 * H if kind in ("tagger", "user") else H, self.labels)

    def forward(self, ids: Tensor, labels: Tensor, h_0: Tensor | None) -> Tensor:
        """The mean loss of ids (T, B) and labels (T, B); a language model has a state h_0 (1, B, H)."""
        x = self.embedding(ids)
        if self.layers is not None:
            x = self.layers(x, h_0)[0] if self.kind == "language" else self.layers(x)[0]
        return cross_entropy(self.head(x).flatten(0, 1), labels.flatten())


KINDS = ("none", "tagger", "language", "user")


def processor_seconds() -> tuple[float, float]:
    """The seconds of processors that this process has taken, and those of its children that have ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    own, children = (usage.ru_utime + usage.ru_stime for usage in used)
    return own, children


def compile_model(model: Model, arguments: tuple[Any, ...], backend: str) -> tuple[Callable[..., Tensor], str]:
    """The compiled model after its first call, and the time that it took."""
    torch._dynamo.reset()
    compiled: Any = torch.compile(model, fullgraph=True, dynamic=True, backend=backend)
    with tempfile.TemporaryDirectory() as folder, fresh_cache(dir=folder):
        started, (own, children) = time.perf_counter(), processor_seconds()
        compiled(*arguments).backward()
        wall, (own_after, children_after) = time.perf_counter() - started, processor_seconds()
    model.zero_grad()
    seconds = f"wall {wall:.1f} s, processor {own_after - own:.1f} s and {children_after - children:.1f} s in children"
    return compiled, seconds


def measure(runs: Sequence[Callable[[], object]], seconds: float) -> list[tuple[float, float]]:
    """The median times of the processor and of the clock of each function, in turns for some seconds."""
    times: list[list[tuple[float, float]]] = [[] for _ in runs]
    started = time.perf_counter()
    runs[0]()
    repeats = max(1, int(0.02 / (time.perf_counter() - started)))
    end, turn = time.perf_counter() + seconds, 0
    while turn < 3 or time.perf_counter() < end:
        for k in range(len(runs))[:: 1 if turn % 2 else -1]:
            before = time.thread_time(), time.perf_counter()
            for _ in range(repeats):
                runs[k]()
            after = time.thread_time(), time.perf_counter()
            if turn:
                times[k].append(((after[0] - before[0]) / repeats, (after[1] - before[1]) / repeats))
        turn += 1
    return [tuple(map(statistics.median, zip(*measured, strict=True))) for measured in times]  # type: ignore[misc]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument("--sizes", nargs="*", default=["7x9x5", "50x32x64", "50x32x128", "50x32x256"], help="T x B x H")
    parser.add_argument("--symbols", type=int, default=100, help="V")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each line")
    parser.add_argument("--backend", default="inductor", help="of torch.compile")
    small = {"models": ["tagger", "user"], "sizes": ["4x2x8"], "seconds": 0.0, "backend": "aot_eager"}
    options = parse_arguments(parser, **small)
    torch.set_num_threads(1)
    for kind in options.models:
        for text in options.sizes:
            T, B, H = map(int, text.split("x"))
            torch.manual_seed(0)
            model = Model(kind, H, options.symbols)
            ohlol.accelerate(model)
            ids, labels = torch.randint(options.symbols, (T, B)), torch.randint(model.labels, (T, B))
            arguments = ids, labels, torch.zeros(1, B, H) if kind == "language" else None
            compiled, seconds = compile_model(model, arguments, options.backend)
            print(f"{kind}, {text}, first call: {seconds}", flush=True)
            torch.testing.assert_close(compiled(*arguments), model(*arguments), rtol=1e-4, atol=1e-5)

            def train(run: Any, model: Any = model, arguments: Any = arguments) -> None:
                model.zero_grad()
                run(*arguments).backward()

            def infer(run: Any, arguments: Any = arguments) -> None:
                with torch.no_grad():
                    run(*arguments)

            for name, step in (("training", train), ("forward", infer)):
                steps = [partial(step, run) for run in (model, compiled)]
                for run in steps:
                    run()
                eager, in_graph = measure(steps, options.seconds)
                ratios = [b / a for a, b in zip(eager, in_graph, strict=True)]
                print(
                    f"{kind}, {text}, {name}: eager {eager[0] * 1e3:.3f} ms, compiled {in_graph[0] * 1e3:.3f} ms, "
                    f"{ratios[0]:.2f} times as long (wall {ratios[1]:.2f})",
                    flush=True,
                )


if __name__ == "__main__":
    main()
