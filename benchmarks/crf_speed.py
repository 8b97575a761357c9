"""The conditional random field of the head `crf` against those of pytorch-crf and torch-struct, if they are installed.

    pip install --no-deps pytorch-crf torch-struct
    python benchmarks/crf_speed.py [--sizes TxBxK ...] [--rounds N] [--threads N] [--quick]

"equations" are those of `ohlol.ops.crf_equations`, in plain PyTorch. Training is the loss of given labels and its
gradients; all are compared with those of the kernels first.
"""

import argparse
import importlib
import warnings
from collections.abc import Callable
from typing import Any

import torch
from timing import parse_arguments, time_in_turns
from torch import Tensor

from ohlol.ops import crf, crf_equations
from ohlol.ops.crf import ChainScores

TOLERANCE = 1e-4
"""Of losses and gradients, relative to the largest of each."""
Run = Callable[[], Any]


def find_module(name: str) -> Any:
    """A module, or None where it is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None


class Problem:
    """Random emissions (T, B, K), labels and scores of neighbours."""

    def __init__(self, T: int, B: int, K: int):
        self.x = torch.randn(T, B, K, requires_grad=True)
        self.labels, self.sizes = torch.randint(K, (T, B)), torch.full((T,), B)
        self.scores = ChainScores(*(0.1 * torch.randn(shape) for shape in ((K, K), (K,), (K,))))
        for score in self.scores:
            score.requires_grad_()

    def gradients(self, loss: Tensor) -> tuple[Tensor, ...]:
        """The loss and its gradients."""
        return loss.detach(), *torch.autograd.grad(loss, [self.x, *self.scores])

    def kernels(self) -> tuple[Run, Run]:
        """Training and decoding in the kernels."""
        rows, labels = self.x.flatten(0, 1), self.labels.flatten()
        return (
            lambda: self.gradients(crf.losses(self.x.flatten(0, 1), self.scores, self.sizes, labels).sum()),
            lambda: crf.decode(rows, self.scores, self.sizes),
        )

    def equations(self) -> tuple[Run, Run]:
        """The same in plain PyTorch."""
        rows, labels = self.x.flatten(0, 1), self.labels.flatten()

        def train() -> tuple[Tensor, ...]:
            x = self.x.flatten(0, 1)
            total = crf_equations.log_partition(x, self.scores, self.sizes)
            return self.gradients((total - crf_equations.score_labels(x, labels, self.scores, self.sizes)).sum())

        return train, torch.no_grad()(lambda: crf_equations.best_sequences(rows, self.scores, self.sizes))

    def pytorch_crf(self, module: Any) -> tuple[Run, Run]:
        """The same by pytorch-crf."""
        peer = module.CRF(self.x.size(2))
        peer.transitions, peer.start_transitions, peer.end_transitions = map(torch.nn.Parameter, self.scores)
        leaves = [self.x, peer.transitions, peer.start_transitions, peer.end_transitions]

        def train() -> tuple[Tensor, ...]:
            loss = -peer(self.x, self.labels, reduction="sum")
            return loss.detach(), *torch.autograd.grad(loss, leaves)

        return train, torch.no_grad()(lambda: peer.decode(self.x))

    def torch_struct(self, module: Any) -> tuple[Run, Run]:
        """The same by torch-struct, whose potentials (B, T - 1, K, K) are from column to row."""

        def distribution() -> Any:
            x = self.x.transpose(0, 1)
            first = (self.scores.start + x[:, 0])[:, None, None, :]
            potentials = self.scores.transitions.t() + x[:, 1:, :, None]
            last = self.scores.end[:, None].expand_as(potentials[:, :1])
            ends = torch.cat([torch.zeros_like(potentials[:, 1:]), last], 1)
            starts = torch.cat([first.expand_as(potentials[:, :1]), torch.zeros_like(potentials[:, 1:])], 1)
            return module.LinearChainCRF(potentials + starts + ends)

        def train() -> tuple[Tensor, ...]:
            x, labels = self.x.flatten(0, 1), self.labels.flatten()
            score = crf_equations.score_labels(x, labels, self.scores, self.sizes)
            return self.gradients(distribution().partition.sum() - score.sum())

        return train, lambda: distribution().argmax


def main() -> None:
    """Print the times of each size in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["50x32x20", "50x32x9", "100x64x50", "20x1x5"], metavar="TxBxK")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parse_arguments(parser, sizes=["4x2x3"], rounds=1)
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    warnings.filterwarnings("ignore", module="torch_struct|torchcrf")
    for size in arguments.sizes:
        problem = Problem(*map(int, size.split("x")))
        programs = {"ohlol": problem.kernels(), "equations": problem.equations()}
        for name, module, make in (
            ("pytorch-crf", find_module("torchcrf"), problem.pytorch_crf),
            ("torch-struct", find_module("torch_struct"), problem.torch_struct),
        ):
            if module is not None:
                programs[name] = make(module)
        expected = programs["ohlol"][0]()
        for name, (train, _) in programs.items():
            for ours, theirs in zip(expected, train(), strict=True):
                if (ours - theirs).abs().max() > TOLERANCE * max(1.0, float(ours.abs().max())):
                    raise SystemExit(f"{size}: {name} computes something else")
        for what, index in (("training", 0), ("decoding", 1)):
            times = time_in_turns(arguments.rounds, *(runs[index] for runs in programs.values()))
            shown = [f"ohlol {1e6 * times[0]:.0f} us"]
            shown += [
                f"{name} {1e6 * seconds:.0f} us ({seconds / times[0]:.1f}x)"
                for name, seconds in zip(list(programs)[1:], times[1:], strict=True)
            ]
            print(f"{size}, {what}: {', '.join(shown)}", flush=True)


if __name__ == "__main__":
    main()
