"""Advice on wrong shapes given to a recurrent layer: the mistake and one line that fixes it, independent of any model.

torch's error states the size it expected, but not the likely cause: `h_0` does not follow `batch_first`, a
bidirectional layer has two states per layer, or ids were given instead of vectors. `check_shapes` returns such causes
as `Advice`; `add_shape_advice` adds them to torch's error as notes, which Python prints below the message. The type and
the text of the error stay the same.
"""

import functools
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.fx import Proxy
from torch.nn.utils.rnn import PackedSequence

from ohlol.nn.tracing import make_node
from ohlol.utils.translation import translate

MISTAKEN = (RuntimeError, ValueError, TypeError, AttributeError, AssertionError, IndexError)
"""What torch raises for a wrong shape."""


@dataclass(frozen=True)
class Advice:
    """One thing that is wrong."""

    mistake: str
    """A short name of the mistake, such as "batch_first"."""
    argument: str
    """Which argument it is in: "input", "h_0", "c_0" or "hx"."""
    axis: int | None
    """The axis of it, from 0; None where the argument as a whole is wrong."""
    message: str
    """What is there and what should be."""
    fix: str
    """One line that fixes it."""

    def __str__(self) -> str:
        return translate("{message}. Try: {fix}", message=self.message, fix=self.fix)


Layer = torch.nn.RNNBase | torch.nn.RNNCellBase
Kind = TypeVar("Kind", bound=type[torch.nn.Module])


def check_shapes(layer: Layer, x: Any, hx: Any = None) -> tuple[Advice, ...]:
    """What is wrong with a call `layer(x, hx)`, without running it.

    Args:
        layer: an RNN, GRU, LSTM or one of their cells, of `ohlol.nn` or `torch.nn`.
        x: the input.
        hx: the state, or None.

    Returns:
        The likeliest mistakes, in the order to fix them; empty if the call is right or wrong for another reason.

    >>> layer = torch.nn.GRU(4, 3, batch_first=True)
    >>> check_shapes(layer, torch.zeros(2, 5, 4), torch.zeros(2, 1, 3))[0].fix
    'h_0 = h_0.transpose(0, 1)'
    >>> check_shapes(layer, torch.zeros(2, 5, 4))
    ()
    """
    if isinstance(x, PackedSequence):
        return _input_size(layer, x.data)
    if not isinstance(x, Tensor):
        kind = type(x).__name__
        return (
            Advice(
                "not_a_tensor",
                "input",
                None,
                translate("the input is a {kind}, not a tensor", kind=kind),
                "x = torch.tensor(x)",
            ),
        )
    found = _cell_input(layer, x) if isinstance(layer, torch.nn.RNNCellBase) else _layer_input(layer, x, hx)
    return found or _state(layer, x, hx)


def add_shape_advice(kind: Kind) -> Kind:
    """Class decorator: add the advice of `check_shapes` to the errors that `forward` raises.

    In `torch.fx.symbolic_trace`, where the input stands for a tensor, the module is one node.
    """
    forward = kind.forward

    @functools.wraps(forward)
    def with_advice(self: Any, input: Any, hx: Any = None) -> Any:
        if isinstance(input, Proxy):
            return make_node(self, input, hx)
        try:
            return forward(self, input, hx)
        except MISTAKEN as error:
            for advice in check_shapes(self, input, hx):
                error.add_note(str(advice))
            raise

    kind.forward = with_advice
    return kind


def _shape(tensor: Tensor) -> str:
    return f"({tensor.shape[0]},)" if tensor.dim() == 1 else f"({', '.join(map(str, tensor.shape))})"


def _ids(layer: Layer, x: Tensor) -> tuple[Advice, ...]:
    if x.is_floating_point() or x.is_complex():
        return ()
    size = layer.input_size
    if x.dim() and x.shape[-1] == size and x.dim() > 1:
        message = translate("the input {shape} holds {dtype}; the weights are floats", shape=_shape(x), dtype=x.dtype)
        return (Advice("integers", "input", None, message, "x = x.float()"),)
    message = translate(
        "the input {shape} holds ids; a recurrent layer reads a vector of input_size={size} for each",
        shape=_shape(x),
        size=size,
    )
    fix = translate(
        "x = torch.nn.functional.one_hot(x, {size}).float(), or an Embedding of size {size} before the layer", size=size
    )
    return (Advice("ids", "input", None, message, fix),)


def _one_hot(x: Tensor) -> bool:
    return bool(((x == 0) | (x == 1)).all()) and bool((x.sum(-1) == 1).all())


def _input_size(layer: Layer, x: Tensor) -> tuple[Advice, ...]:
    size, given, axis = layer.input_size, x.shape[-1], x.dim() - 1
    if given == size:
        return ()
    if x.dim() == 3 and x.shape[1] == size:
        message = translate(
            "the input {shape} has input_size={size} at axis 1, as a convolution has its channels",
            shape=_shape(x),
            size=size,
        )
        return (Advice("channels_first", "input", 1, message, "x = x.transpose(1, 2)"),)
    if _one_hot(x) and given > 1:
        message = translate(
            "the input {shape} is one-hot over {given} symbols at axis {axis}; the layer has input_size={size}",
            shape=_shape(x),
            given=given,
            axis=axis,
            size=size,
        )
        fix = translate(
            "x = torch.nn.functional.one_hot(ids, {size}).float(), with as many symbols as the layer was made for",
            size=size,
        )
        return (Advice("one_hot_size", "input", axis, message, fix),)
    name = type(layer).__name__
    message = translate(
        "the input {shape} has {given} features at axis {axis}; the layer has input_size={size}",
        shape=_shape(x),
        given=given,
        axis=axis,
        size=size,
    )
    return (
        Advice(
            "input_size",
            "input",
            axis,
            message,
            translate("{name}(input_size={given}, ...), or x of {size} features", name=name, given=given, size=size),
        ),
    )


def _cell_input(layer: torch.nn.RNNCellBase, x: Tensor) -> tuple[Advice, ...]:
    if ids := _ids(layer, x):
        return ids
    if x.dim() == 3:
        family = type(layer).__name__.removesuffix("Cell")
        message = translate("the input {shape} is a whole sequence; a cell reads one step (B, I)", shape=_shape(x))
        fix = translate(
            "for x_t in x: h = cell(x_t, h), or {family}({input_size}, {hidden_size}) for all at once",
            family=family,
            input_size=layer.input_size,
            hidden_size=layer.hidden_size,
        )
        return (Advice("sequence_to_cell", "input", 0, message, fix),)
    return _input_size(layer, x) if x.dim() in (1, 2) else ()


def _layer_input(layer: torch.nn.RNNBase, x: Tensor, hx: Any) -> tuple[Advice, ...]:
    if ids := _ids(layer, x):
        return ids
    letters = "(B, T, I)" if layer.batch_first else "(T, B, I)"
    if x.dim() == 1:
        message = translate(
            "the input {shape} has one axis; a layer reads {letters}, or (T, I) without a batch",
            shape=_shape(x),
            letters=letters,
        )
        fix = (
            translate("x = x[:, None], one number a step")
            if layer.input_size == 1
            else translate("x = x[None], a single step")
        )
        return (Advice("one_axis", "input", None, message, fix),)
    if x.dim() > 3:
        message = translate(
            "the input {shape} has {count} axes; a layer reads {letters}",
            shape=_shape(x),
            count=x.dim(),
            letters=letters,
        )
        return (Advice("too_many_axes", "input", None, message, "x = x.flatten(2)"),)
    return _input_size(layer, x) if x.dim() > 1 else ()


def _state(layer: Layer, x: Tensor, hx: Any) -> tuple[Advice, ...]:
    if hx is None:
        return ()
    lstm = isinstance(layer, torch.nn.LSTM | torch.nn.LSTMCell)
    if lstm and isinstance(hx, Tensor):
        message = translate("the state of an LSTM is a pair; one tensor was given")
        return (Advice("not_a_pair", "hx", None, message, "hx = (h_0, torch.zeros_like(h_0))"),)
    if not lstm and not isinstance(hx, Tensor):
        message = translate(
            "the state of {type} is one tensor; a {given} was given",
            type=type(layer).__name__,
            given=type(hx).__name__,
        )
        return (Advice("a_pair", "hx", None, message, "hx = hx[0]"),)
    states = dict(zip(("h_0", "c_0"), hx, strict=False)) if lstm else {"h_0": hx}
    for name, state in states.items():
        if not isinstance(state, Tensor):
            continue
        if isinstance(layer, torch.nn.RNNBase):
            found = _layer_state(layer, x, name, state)
        else:
            found = _cell_state(layer, x, name, state)
        if found is not None:
            return (found,)
    return ()


def _layer_state(layer: torch.nn.RNNBase, x: Tensor, name: str, state: Tensor) -> Advice | None:
    D = 2 if layer.bidirectional else 1
    L, H = layer.num_layers, layer.proj_size if name == "h_0" and layer.proj_size else layer.hidden_size
    batched = x.dim() == 3
    B, T = (x.shape[0 if layer.batch_first else 1], x.shape[1 if layer.batch_first else 0]) if batched else (1, len(x))
    wanted = (L * D, B, H) if batched else (L * D, H)
    given = tuple(state.shape)
    if given == wanted:
        return None
    is_, should = f"{name} is {_shape(state)}", f"{'(L*D, B, H)' if batched else '(L*D, H)'} = {wanted}"
    if batched and len(given) == 2:
        fix = f"{name} = {name}[None]" if given == (B, H) and L * D == 1 else f"{name} = torch.zeros{wanted}"
        return Advice(
            "two_axes",
            name,
            None,
            translate("{state}; for a batch it has three axes, {should}", state=is_, should=should),
            fix,
        )
    if not batched and len(given) == 3:
        message = translate(
            "the input {shape} has two axes and is taken as (T, I) without a batch, but {state}",
            shape=_shape(x),
            state=is_,
        )
        axis = 1 if given[1] == 1 else 0 if layer.batch_first else 1
        return Advice(
            "unbatched",
            "input",
            None,
            message,
            translate("x = x.unsqueeze({axis}), which gives it the axis B", axis=axis),
        )
    if len(given) != len(wanted):
        return Advice(
            "axes",
            name,
            None,
            translate("{state}; it must be {should}", state=is_, should=should),
            f"{name} = torch.zeros{wanted}",
        )
    if batched and given == (B, L * D, H):
        message = translate(
            "{state}, with B at axis 0; only input and output follow batch_first, {name} stays {should}",
            state=is_,
            name=name,
            should=should,
        )
        return Advice("state_batch_first", name, 0, message, f"{name} = {name}.transpose(0, 1)")
    if batched and given == (L * D, T, H) and T != B:
        first = not layer.batch_first
        message = translate(
            "the input {shape} is read as {read}, so B={B}, but {name} has B={T} at axis 1: the input's axes 0 and 1 "
            "are the other way round",
            shape=_shape(x),
            read="(B, T, I)" if layer.batch_first else "(T, B, I)",
            B=B,
            name=name,
            T=T,
        )
        fix = translate("batch_first={value} in the layer, or x = x.transpose(0, 1)", value=first)
        return Advice("batch_first", "input", 0, message, fix)
    if D == 2 and given[0] == L and given[1:] == wanted[1:]:
        message = translate(
            "{state}, with {L} at axis 0; a bidirectional layer has two states for each of its layers, {should}",
            state=is_,
            L=L,
            should=should,
        )
        return Advice(
            "directions",
            name,
            0,
            message,
            translate("{name} = torch.zeros{wanted}, forward before backward", name=name, wanted=wanted),
        )
    if L > 1 and given[0] in (1, D) and given[1:] == wanted[1:]:
        message = translate(
            "{state}, with {given} at axis 0; each of the {L} layers has a state of its own, {should}",
            state=is_,
            given=given[0],
            L=L,
            should=should,
        )
        return Advice("layers", name, 0, message, f"{name} = torch.zeros{wanted}")
    if given[-1] != wanted[-1]:
        axis = len(given) - 1
        message = translate(
            "{state}, with {given} units at axis {axis}; the layer has hidden_size={H}: {should}",
            state=is_,
            given=given[-1],
            axis=axis,
            H=H,
            should=should,
        )
        return Advice("hidden_size", name, axis, message, f"{name} = torch.zeros{wanted}")
    if batched and given[0] == wanted[0]:
        message = translate(
            "{state}, with B={given} at axis 1; the input {shape} has B={B}: {should}",
            state=is_,
            given=given[1],
            shape=_shape(x),
            B=B,
            should=should,
        )
        fix = f"{name} = {name}[:, :{B}].contiguous()" if given[1] > B else f"{name} = torch.zeros{wanted}"
        return Advice("batch", name, 1, message, fix)
    message = translate(
        "{state}, with {given} at axis 0; it must be {should}", state=is_, given=given[0], should=should
    )
    return Advice("rows", name, 0, message, f"{name} = torch.zeros{wanted}")


def _cell_state(layer: torch.nn.RNNCellBase, x: Tensor, name: str, state: Tensor) -> Advice | None:
    wanted = (*x.shape[:-1], layer.hidden_size)
    given = tuple(state.shape)
    if given == wanted:
        return None
    is_ = f"{name} is {_shape(state)}"
    if len(given) == 3:
        message = translate(
            "{state}, as for a layer; a cell's state has no axis for layers: {wanted}", state=is_, wanted=wanted
        )
        return Advice("layer_state_to_cell", name, 0, message, f"{name} = {name}[0]")
    axis = 1 if given[-1] != layer.hidden_size else 0
    return Advice(
        "cell_state",
        name,
        axis,
        translate("{state}; it must be (B, H) = {wanted}", state=is_, wanted=wanted),
        f"{name} = torch.zeros{wanted}",
    )
