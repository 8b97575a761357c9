"""Optimizers whose step runs in the compiled kernels, and those of torch with the same rules where it cannot.

`KernelOptimizer` measures the norm of the gradients, clips them, changes the weights and adds them to their mean in one
call. Its equations and its `state_dict` are those of `torch.optim`, so that each loads the state of the other. Python
does little in a step, and `torch.optim` is not used: its optimizers import torch's compiler when they are made, which
takes longer than a small training.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from ohlol.ops.backend import KERNEL, typed_kernel
from ohlol.ops.validation import DTYPES, find_unreadable, is_materialized, materialize


class Rule(NamedTuple):
    """How an optimizer changes weights."""

    number: int
    """Its number in the kernels."""
    beta1: float
    """The decay of the mean of the gradients; of "sgd" the momentum."""
    beta2: float
    """The decay of the mean of their squares."""
    first: str
    """The name of the mean of the gradients in the state of `torch.optim`; empty where there is none."""
    second: str
    """The name of the mean of their squares, likewise."""
    counts_steps: bool
    """Whether the state has the number of steps."""


RULES = {
    "adam": Rule(0, 0.9, 0.999, "exp_avg", "exp_avg_sq", counts_steps=True),
    "adamw": Rule(1, 0.9, 0.999, "exp_avg", "exp_avg_sq", counts_steps=True),
    "sgd": Rule(2, 0.9, 0.0, "momentum_buffer", "", counts_steps=False),
    "rmsprop": Rule(3, 0.0, 0.99, "", "square_avg", counts_steps=True),
}
"""The rules by name, with the constants that `torch.optim` has as defaults; the momentum of "sgd" is ours."""
EPSILON = 1e-8
"""Added to the root of the mean of the squares."""


class _Moments:
    """The state of one parameter."""

    def __init__(self, rule: Rule, parameter: Tensor):
        self.steps = 0
        self.first = torch.zeros_like(parameter) if rule.first else None
        self.second = torch.zeros_like(parameter) if rule.second else None
        self.addresses = tuple(0 if tensor is None else tensor.data_ptr() for tensor in (self.first, self.second))


class KernelOptimizer:
    """An optimizer with the rule of one of `torch.optim`, in the kernels.

    Args:
        rule: a name of `RULES`.
        groups: dicts as those of `torch.optim`, with "params"; "lr" is added where it is missing.
        lr: the learning rate of groups without one.
        weight_decay: at least 0; of "adamw" apart from the gradients.
        betas: the decays, where they are not those of the rule.

    Raises:
        RuntimeError: there are no kernels.
        ValueError: a parameter is not contiguous float32 or float64 on the CPU, or they differ in dtype.

    Attributes:
        param_groups: the groups, whose learning rates may be changed between steps.
    """

    def __init__(
        self,
        rule: str,
        groups: Iterable[dict[str, Any]],
        lr: float,
        *,
        weight_decay: float = 0.0,
        betas: tuple[float, float] | None = None,
    ):
        self.rule, self.weight_decay = RULES[rule], weight_decay
        self.beta1, self.beta2 = betas or (self.rule.beta1, self.rule.beta2)
        self.param_groups: list[dict[str, Any]] = [
            {"lr": lr, **group, "params": list(group["params"])} for group in groups
        ]
        self._parameters: list[Tensor] = [p for group in self.param_groups for p in group["params"]]
        reason = find_obstacle(self._parameters)
        if reason:
            raise ValueError(reason)
        self._dtype = self._parameters[0].dtype
        self._run = typed_kernel("take_step", self._dtype)
        self._moments: dict[int, _Moments] = {}

    def zero_grad(self) -> None:
        """Let no parameter have a gradient."""
        for parameter in self._parameters:
            parameter.grad = None

    def step(
        self, max_norm: float = math.inf, means: Mapping[Tensor, Tensor] | None = None, mean_weight: float = 0.0
    ) -> float:
        """Scale the gradients so that their norm is at most `max_norm`, and take one step.

        Args:
            max_norm: the largest norm of all gradients together.
            means: a mean of each parameter, to which the new values are added, by the parameter; or none.
            mean_weight: the weight of the new values in the means, in [0, 1].

        Returns:
            The norm before clipping. Where it is not finite, nothing has changed.

        Raises:
            ValueError: a gradient is sparse, or a tensor has changed so that the kernels cannot read it.
        """
        tensors: list[int] = []
        rates: list[float] = []
        changed: list[Tensor] = []
        stepped: list[_Moments] = []
        corrections: dict[int, tuple[float, float]] = {}
        index = -1
        for group in self.param_groups:
            lr: float = group["lr"]
            for parameter in group["params"]:
                index += 1
                gradient: Tensor | None = parameter.grad
                mean = self._address_mean(means[parameter], parameter) if means else 0
                if gradient is None:
                    if mean:
                        tensors += (parameter.data_ptr(), 0, 0, 0, mean, parameter.numel())
                        rates += (0.0, 0.0, 1.0)
                    continue
                reason = find_unreadable(parameter, self._dtype) or find_unreadable(gradient, self._dtype)
                if reason or not parameter.is_contiguous():
                    raise ValueError(f"parameter {index} or its gradient: {reason or 'it is not contiguous any more'}")
                if not is_materialized(gradient):
                    gradient = parameter.grad = materialize(gradient)
                moments = self._moments.get(index)
                if moments is None:
                    moments = self._moments[index] = _Moments(self.rule, parameter)
                steps = moments.steps + 1
                if steps not in corrections:
                    corrections[steps] = self._correct(steps)
                step_factor, second_scale = corrections[steps]
                tensors += (parameter.data_ptr(), gradient.data_ptr(), *moments.addresses, mean, parameter.numel())
                rates += (lr, lr * step_factor, second_scale)
                changed.append(parameter)
                stepped.append(moments)
        norm = self._run(
            rule=self.rule.number,
            threads=torch.get_num_threads(),
            tensors=tensors,
            rates=rates,
            constants=(self.beta1, self.beta2, EPSILON, self.weight_decay, max_norm, mean_weight),
        )
        if math.isfinite(norm):
            for moments in stepped:
                moments.steps += 1
            increment_version(changed)
        return norm

    def _address_mean(self, mean: Tensor, parameter: Tensor) -> int:
        if mean.shape != parameter.shape or not mean.is_contiguous() or find_unreadable(mean, self._dtype):
            raise ValueError(f"the mean of a parameter of {tuple(parameter.shape)} is not contiguous or of other shape")
        return mean.data_ptr()

    def _correct(self, steps: int) -> tuple[float, float]:
        """The factors that correct the means of so many steps for their start at zero: of the step, and of the root."""
        if not self.rule.first or not self.rule.second:
            return 1.0, 1.0
        return 1 / (1 - self.beta1**steps), math.sqrt(1 - self.beta2**steps)

    def state_dict(self) -> dict[str, Any]:
        """The state as that of `torch.optim`: by the number of the parameter, the moments and the steps."""
        names = self.rule.first, self.rule.second
        state = {
            index: {
                **({"step": torch.tensor(float(moments.steps))} if self.rule.counts_steps else {}),
                **{name: value for name, value in zip(names, (moments.first, moments.second), strict=True) if name},
            }
            for index, moments in sorted(self._moments.items())
        }
        numbers = iter(range(len(self._parameters)))
        groups = [group | {"params": [next(numbers) for _ in group["params"]]} for group in self.param_groups]
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state of this class or of `torch.optim`.

        Raises:
            KeyError: a moment is missing.
            ValueError: groups, or a moment and its parameter, differ in size.
        """
        groups = state_dict["param_groups"]
        if [len(group["params"]) for group in groups] != [len(group["params"]) for group in self.param_groups]:
            raise ValueError("the state has other groups of parameters")
        moments: dict[int, _Moments] = {}
        for index, values in state_dict["state"].items():
            parameter = self._parameters[index]
            own = moments[index] = _Moments(self.rule, parameter)
            own.steps = int(values["step"]) if self.rule.counts_steps else 0
            for name, tensor in ((self.rule.first, own.first), (self.rule.second, own.second)):
                if tensor is None:
                    continue
                if values[name].shape != tensor.shape:
                    raise ValueError(f"{name} of parameter {index} is {tuple(values[name].shape)}")
                tensor.copy_(values[name])
        for own, loaded in zip(self.param_groups, groups, strict=True):
            own.update({name: value for name, value in loaded.items() if name != "params"})
        self._moments = moments


def find_obstacle(parameters: Sequence[Tensor]) -> str:
    """Why the kernels cannot change some parameters, or an empty string."""
    if KERNEL is None:
        return "there are no kernels"
    if not parameters or parameters[0].dtype not in DTYPES:
        return "there are no parameters of float32 or float64"
    for parameter in parameters:
        if reason := find_unreadable(parameter, parameters[0].dtype):
            return reason
        if not is_materialized(parameter) and parameter.numel():
            return "a parameter is not contiguous"
    return ""
