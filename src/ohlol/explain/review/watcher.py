"""The process in which `watch` runs a program: `python -m ohlol.explain.review.watcher FILE REPORT`.

Hooks of torch look at each call of a recurrent layer and a loss, and at each step of an optimizer. What they see is
written to the report at once, one JSON object a line, so that it is there however the program ends.
"""

import json
import runpy
import sys
from collections import defaultdict
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.nn.utils.rnn import PackedSequence
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.data import DataLoader

from ohlol.nn.shape_errors import check_shapes
from ohlol.utils.errors import describe_user_error
from ohlol.utils.translation import translate

RECURRENT = (torch.nn.RNNBase, torch.nn.RNNCellBase)
ELEMENTWISE = (torch.nn.MSELoss, torch.nn.L1Loss, torch.nn.SmoothL1Loss, torch.nn.HuberLoss)
ENOUGH_CALLS = 3
"""Calls of a layer after which a pattern in all of them counts."""


class Watcher:
    """What the hooks remember between calls.

    Args:
        file: the program.
        report: where the events are written.
    """

    def __init__(self, file: str, report: Path) -> None:
        self.file = file
        self.stream = report.open("w", encoding="utf-8")
        self.reported: set[tuple[Any, ...]] = set()
        self.batch_sizes: set[int] = set()
        self.backward_passes = 0
        self.made_in: dict[int, tuple[Tensor, int]] = {}
        self.stepped: list[torch.optim.Optimizer] = []
        self.calls: dict[int, int] = defaultdict(int)
        self.longer: set[int] = set()

    def write(self, **event: Any) -> None:
        """Write an event once."""
        key = tuple(event.get(name) for name in ("check", "layer", "error", "line"))
        if key not in self.reported:
            self.reported.add(key)
            self.stream.write(json.dumps(event) + "\n")
            self.stream.flush()

    def find(self, check: str, instead: str, detail: str = "", line: int | None = None) -> None:
        """Report a mistake at the line of the program that runs."""
        self.write(check=check, instead=instead, detail=detail, line=self.line() if line is None else line)

    def line(self) -> int:
        """The line of the program that called what runs now."""
        frame: FrameType | None = sys._getframe()
        while frame is not None and frame.f_code.co_filename != self.file:
            frame = frame.f_back
        return frame.f_lineno if frame is not None else 1

    # hooks

    def before_module(self, module: torch.nn.Module, arguments: tuple[Any, ...]) -> None:
        """A module is called: look at the input of recurrent layers, of dropout and of losses."""
        if isinstance(module, RECURRENT) and arguments:
            self._look_at_layer(module, arguments[0], arguments[1] if len(arguments) > 1 else None)
        dropout = getattr(module, "p", 0) if isinstance(module, torch.nn.Dropout) else getattr(module, "dropout", 0)
        is_dropping = isinstance(module, torch.nn.Dropout | torch.nn.RNNBase) and module.training and dropout
        if is_dropping and not torch.is_grad_enabled():
            self.find("no-eval", "model.eval()")
        if isinstance(module, ELEMENTWISE) and len(arguments) == 2:
            self._look_at_shapes(*arguments)
        if isinstance(module, torch.nn.CrossEntropyLoss) and arguments and _are_probabilities(arguments[0]):
            self.find("softmax-before-loss", "loss = criterion(logits, targets)")

    def after_module(self, module: torch.nn.Module, arguments: Any, result: Any) -> None:
        """A recurrent layer has returned: remember in which batch its state was made."""
        if isinstance(module, RECURRENT):
            for state in _tensors(result):
                if state.grad_fn is not None:
                    self.made_in[id(state)] = state, self.backward_passes

    def before_backward(self) -> None:
        """A backward pass begins: the gradients of a step that was taken must be gone."""
        for optimizer in self.stepped:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            if any(p.grad is not None and bool(p.grad.any()) for p in parameters):
                self.find("no-zero-grad", "optimizer.zero_grad()  # before loss.backward()")
        self.stepped.clear()
        self.backward_passes += 1
        passes = self.backward_passes
        self.made_in = {key: entry for key, entry in self.made_in.items() if entry[1] >= passes - 1}

    def after_step(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        """An optimizer has taken a step."""
        self.stepped.append(optimizer)

    # what they look at

    def _look_at_layer(self, layer: Any, x: Any, state: Any) -> None:
        for advice in check_shapes(layer, x, state)[:1]:
            self.find("wrong-shape", advice.fix, translate("({message})", message=advice.message))
        for tensor in _tensors(state):
            made = self.made_in.get(id(tensor))
            if made is not None and made[0] is tensor and made[1] < self.backward_passes:
                self.find("state-not-detached", "state = state.detach()")
        if not isinstance(x, Tensor) or x.dim() != 3 or isinstance(layer, torch.nn.RNNCellBase):
            return
        axes = ("B", "T") if layer.batch_first else ("T", "B")
        sizes = dict(zip(axes, x.shape[:2], strict=True))
        shape = f"({', '.join(f'{letter}={size}' for letter, size in zip((*axes, 'I'), x.shape, strict=True))})"
        self.write(layer=type(layer).__name__, shape=shape, line=self.line())
        if sizes["T"] in self.batch_sizes and sizes["B"] not in self.batch_sizes and sizes["T"] > 1:
            name = type(layer).__name__
            instead = f"nn.{name}(..., batch_first={not layer.batch_first})"
            self.find("batch-read-as-time", instead, f"T={sizes['T']}, B={sizes['B']}")
        if sizes["T"] > 1 or state is not None or sizes["B"] < 2:
            self.longer.add(id(layer))
        self.calls[id(layer)] += 1
        if self.calls[id(layer)] == ENOUGH_CALLS and id(layer) not in self.longer:
            self.find("single-steps", f"output, state = layer(x, state)  # or x with T > 1, now {shape}")

    def _look_at_shapes(self, x: Any, target: Any) -> None:
        if isinstance(x, Tensor) and isinstance(target, Tensor) and x.shape != target.shape:
            detail = f"{tuple(x.shape)}, {tuple(target.shape)}"
            self.find("loss-broadcast", "loss = criterion(output, target.view_as(output))", detail)


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in a state or a result."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list) and not isinstance(value, PackedSequence):
        for part in value:
            yield from _tensors(part)


def _are_probabilities(x: Any) -> bool:
    """Whether every row of a tensor has values between 0 and 1 with the sum 1, over more than one class."""
    if not isinstance(x, Tensor) or x.dim() < 2 or x.shape[1] < 2 or not x.is_floating_point() or not x.numel():
        return False
    values = x.detach()
    return bool((values >= 0).all()) and bool(((values.sum(dim=1) - 1).abs() < 1e-4).all())


@contextmanager
def installed(watcher: Watcher) -> Generator[None]:
    """Within it, the hooks look at all modules, optimizers, backward passes and data loaders of this process."""
    handles = [
        register_module_forward_pre_hook(watcher.before_module),
        register_module_forward_hook(watcher.after_module),
        register_optimizer_step_post_hook(watcher.after_step),
    ]
    backward, iterate = Tensor.backward, DataLoader.__iter__

    def backward_watched(self: Tensor, *arguments: Any, **options: Any) -> None:
        watcher.before_backward()
        backward(self, *arguments, **options)

    def iterate_watched(self: Any) -> Any:
        if isinstance(self.batch_size, int) and self.batch_size > 1:
            watcher.batch_sizes.add(self.batch_size)
        return iterate(self)

    Tensor.backward, DataLoader.__iter__ = backward_watched, iterate_watched  # pyright: ignore
    try:
        yield
    finally:
        Tensor.backward, DataLoader.__iter__ = backward, iterate  # pyright: ignore
        for handle in handles:
            handle.remove()
        watcher.stream.close()


def main(file: str, report: str) -> None:
    """Run a program under watch; its own errors and exits are reported and end the process with status 0."""
    watcher = Watcher(file, Path(report))
    sys.argv = [file]
    sys.path.insert(0, str(Path(file).resolve().parent))
    with installed(watcher):
        try:
            runpy.run_path(file, run_name="__main__")
        except SystemExit as end:
            if end.code not in (0, None):
                watcher.write(error=f"SystemExit: {end.code}")
        except BaseException as error:
            watcher.write(error=describe_user_error(error))


if __name__ == "__main__":
    main(*sys.argv[1:3])
