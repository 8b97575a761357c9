"""The mean of the weights over the steps of training, with which a run is evaluated and which it keeps.

The mean itself is computed by `torch.optim.swa_utils`.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn, get_swa_multi_avg_fn

from ohlol.config import TrainSettings

NON_MONOTONIC_EPOCHS = 5
""""nt_asgd": the lowest loss of more than so many epochs before is compared with that of this epoch."""


class WeightAverage:
    """The mean of the parameters of a model, as `weight_averaging` says.

    "ema" is the exponential moving average, whose decay rises from 0.1 to `ema_decay`, so that it forgets the initial
    weights. "nt_asgd" is the mean of all steps since the validation loss stopped falling, the non-monotonic trigger of
    Merity, Keskar and Socher, "Regularizing and optimizing LSTM language models" (2018), of Polyak and Juditsky,
    "Acceleration of stochastic approximation by averaging" (1992).

    Args:
        settings: the kind of mean, and its decay.
        parameters: the parameters that training changes.

    Attributes:
        steps: how many steps the mean has; 0 where it has not begun.
    """

    def __init__(self, settings: TrainSettings, parameters: Sequence[Tensor]):
        self.kind, self.decay, self.parameters = settings.weight_averaging, settings.ema_decay, list(parameters)
        self.steps = 0
        self._means: list[Tensor] = []
        self._started = self.kind == "ema"

    def observe_losses(self, losses: Sequence[float]) -> None:
        """Begin the mean of "nt_asgd", where the last of the validation losses of the epochs so far says so."""
        before = losses[: -1 - NON_MONOTONIC_EPOCHS]
        self._started |= self.kind == "nt_asgd" and bool(before) and losses[-1] > min(before)

    @torch.no_grad()
    def update(self) -> None:
        """Add the parameters after a step of the optimizer."""
        if not self._started:
            return
        if not self.steps:
            self._means = [parameter.detach().clone() for parameter in self.parameters]
        elif self.kind == "ema":
            decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
            get_ema_multi_avg_fn(decay)(self._means, self._values, self.steps)
        else:
            get_swa_multi_avg_fn()(self._means, self._values, self.steps)
        self.steps += 1

    @property
    def _values(self) -> list[Tensor]:
        return [parameter.detach() for parameter in self.parameters]

    @contextmanager
    def applied(self) -> Generator[None]:
        """The model with the mean as its parameters, if there is one."""
        if not self.steps:
            yield
            return
        learned = [value.clone() for value in self._values]
        self._set(self._means)
        try:
            yield
        finally:
            self._set(learned)

    @torch.no_grad()
    def _set(self, values: Sequence[Tensor]) -> None:
        for parameter, value in zip(self.parameters, values, strict=True):
            parameter.copy_(value)

    def state(self) -> dict[str, Tensor]:
        """The tensors to save."""
        return {f"average.{index}": mean for index, mean in enumerate(self._means)}

    def load_state(self, tensors: dict[str, Tensor], steps: int, losses: Sequence[float]) -> None:
        """The inverse of `state`.

        Args:
            tensors: those of the saved state, others among them.
            steps: how many the mean has.
            losses: the validation losses of the epochs so far.

        Raises:
            KeyError: one is missing.
            ValueError: one has another shape.
        """
        self.steps, self._means = steps, []
        for count in range(1, len(losses) + 1):
            self.observe_losses(losses[:count])
        for index, parameter in enumerate(self.parameters if steps else ()):
            mean = tensors[f"average.{index}"]
            if mean.shape != parameter.shape:
                raise ValueError(f"average.{index} is {tuple(mean.shape)}")
            self._means.append(mean.to(parameter))
