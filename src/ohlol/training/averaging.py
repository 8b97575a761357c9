"""The mean of the weights over the steps of training, with which a run is evaluated and which it keeps."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

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
        self._means: dict[Tensor, Tensor] = {}
        self._started = self.kind == "ema"

    def observe_losses(self, losses: Sequence[float]) -> None:
        """Begin the mean of "nt_asgd", where the last of the validation losses of the epochs so far says so."""
        before = losses[: -1 - NON_MONOTONIC_EPOCHS]
        self._started |= self.kind == "nt_asgd" and bool(before) and losses[-1] > min(before)

    def prepare(self) -> tuple[Mapping[Tensor, Tensor], float]:
        """The mean of each parameter, and the weight in it of the value after the next step; none where none changes.

        Whoever adds the values to the means counts the step in `steps`.
        """
        if not self._started:
            return {}, 0.0
        if not self._means:
            self._means = {parameter: torch.zeros_like(parameter.detach()) for parameter in self.parameters}
        if not self.steps:
            return self._means, 1.0
        if self.kind == "ema":
            return self._means, 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        return self._means, 1 / (self.steps + 1)

    @torch.no_grad()
    def update(self) -> None:
        """Add the parameters after a step of the optimizer."""
        means, weight = self.prepare()
        for parameter, mean in means.items():
            mean.lerp_(parameter, weight)
        self.steps += bool(means)

    @contextmanager
    def applied(self) -> Generator[None]:
        """The model with the mean as its parameters, if there is one."""
        if not self.steps:
            yield
            return
        learned = {parameter: parameter.detach().clone() for parameter in self.parameters}
        self._set(self._means)
        try:
            yield
        finally:
            self._set(learned)

    @torch.no_grad()
    def _set(self, values: Mapping[Tensor, Tensor]) -> None:
        for parameter, value in values.items():
            parameter.copy_(value)

    def state(self) -> dict[str, Tensor]:
        """The tensors to save."""
        return {f"average.{index}": mean for index, mean in enumerate(self._means.values() if self.steps else ())}

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
        self.steps, self._means = steps, {}
        for count in range(1, len(losses) + 1):
            self.observe_losses(losses[:count])
        for index, parameter in enumerate(self.parameters if steps else ()):
            mean = tensors[f"average.{index}"]
            if mean.shape != parameter.shape:
                raise ValueError(f"average.{index} is {tuple(mean.shape)}")
            self._means[parameter] = mean.to(parameter).contiguous()
