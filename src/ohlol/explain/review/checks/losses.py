"""Checks of losses: what they take, the axes of the classes, and sums compared with means."""

import ast
from typing import Any

from ohlol.explain.review.check import Places, check
from ohlol.explain.review.names import argument, calls_method, dotted
from ohlol.explain.review.program import Program
from ohlol.explain.review.values import Value

CLASS_LOSSES = ("CrossEntropyLoss", "NLLLoss")
OF_LOGITS = ("CrossEntropyLoss", "BCEWithLogitsLoss")
"""Losses that apply softmax or sigmoid themselves."""


def activation(program: Program, value: Value) -> tuple[ast.Call, str] | None:
    """The call of an activation that made a value, and what it was applied to."""
    call = value.origin
    if not isinstance(call, ast.Call):
        return None
    is_function = program.callee(call).startswith("torch.") or _is_module(program.value(call.func))
    inner = call.args[0] if is_function and call.args else getattr(call.func, "value", None)
    return None if inner is None else (call, ast.unparse(inner))


def _is_module(value: Value | None) -> bool:
    return value is not None and value.kind in ("module", "instance")


@check(
    "softmax-before-loss",
    "The loss takes logits and applies softmax (or sigmoid) itself. Applied twice, the outputs lie between 0 and 1, "
    "the gradients are small and the loss cannot come near 0.",
)
def softmax_before_loss(program: Program) -> Places:
    """Probabilities given to CrossEntropyLoss or BCEWithLogitsLoss."""
    for _, name, logits, _ in program.losses():
        value = program.value(logits)
        if value is not None and name in OF_LOGITS and value.tags & {"Softmax", "Sigmoid"}:
            found = activation(program, value)
            if found is not None:
                yield found[0], program.replace(*found)


@check(
    "nll-without-log-softmax",
    "NLLLoss takes logarithms of probabilities. Of logits or probabilities it is no cross-entropy and can be negative.",
)
def nll_without_log_softmax(program: Program) -> Places:
    """Probabilities or plain logits given to NLLLoss."""
    for call, name, logits, _ in program.losses():
        value = program.value(logits)
        if name != "NLLLoss" or value is None or value.kind != "tensor" or logits is None:
            continue
        found = activation(program, value)
        if "Softmax" in value.tags and found is not None:
            yield found[0], program.replace(found[0], f"torch.log_softmax({found[1]}, dim=-1)")
        elif value.name == "logits" and not value.tags & {"LogSoftmax"} and _is_direct(program, value):
            yield call, program.replace(logits, f"torch.log_softmax({ast.unparse(logits)}, dim=-1)")


def _is_direct(program: Program, value: Value) -> bool:
    """Whether a program has no log-softmax that the review may have lost sight of."""
    return not program.mentions("log_softmax", "LogSoftmax", "log")


@check(
    "class-axis",
    "The loss takes classes at axis 1: (batch, classes, time). Here they are the last axis. Move them, or join batch "
    "and time: logits.reshape(-1, classes) with targets.reshape(-1).",
)
def class_axis(program: Program) -> Places:
    """Logits (B, T, K) given to CrossEntropyLoss or NLLLoss."""
    for _, name, logits, _ in program.losses():
        value = program.value(logits)
        if name not in CLASS_LOSSES or value is None or logits is None or value.axes is None or len(value.axes) != 3:
            continue
        if value.axes[-1] in ("K", "H") and value.axes[0] in ("B", "T", "?") and "maybe_unbatched" not in value.tags:
            yield logits, program.replace(logits, f"{_bracketed(logits)}.transpose(1, 2)")


def _bracketed(node: ast.expr) -> str:
    text = ast.unparse(node)
    return f"({text})" if isinstance(node, ast.BinOp | ast.UnaryOp) else text


@check(
    "one-hot-targets",
    "CrossEntropyLoss takes the index of each class as target, (N,) of type long. One-hot integers and (N, 1) raise an "
    "error.",
)
def one_hot_targets(program: Program) -> Places:
    """One-hot integers or a column given to CrossEntropyLoss as targets."""
    for _, name, _, target in program.losses():
        value = program.value(target)
        if name not in CLASS_LOSSES or value is None or target is None:
            continue
        text = ast.unparse(target)
        if "one_hot" in value.tags and (value.dtype == "long" or name == "NLLLoss"):
            made = value.origin
            if isinstance(made, ast.Call) and program.callee(made).endswith("one_hot") and made.args:
                inner = ast.unparse(made.args[0])
                yield made, program.replace(made if made is not target else target, inner)
            else:
                yield target, program.replace(target, f"{text}.argmax(dim=-1)")
        elif "column" in value.tags:
            yield target, program.replace(target, f"{text}.squeeze(1)")


@check(
    "float-targets",
    "CrossEntropyLoss and NLLLoss take the number of each class as an integer (long). Class numbers as floats raise an "
    "error.",
)
def float_targets(program: Program) -> Places:
    """Class numbers given as floats to CrossEntropyLoss or NLLLoss; floats may also be probabilities of classes."""
    for _, name, logits, target in program.losses():
        value = program.value(target) or _in_dataset(program, target)
        if name not in CLASS_LOSSES or target is None or value is None or value.kind != "tensor":
            continue
        if value.dtype != "float" or value.tags - {"column"}:
            continue
        is_number = name == "NLLLoss" or _are_class_numbers(program, value, logits) or _is_compared(program, target)
        if is_number:
            text = ast.unparse(target).removesuffix(".float()").removesuffix(".double()")
            text = _bracketed(target) if text == ast.unparse(target) else text
            yield target, program.replace(target, f"{text}.long()")


def _in_dataset(program: Program, node: ast.expr | None) -> Value | None:
    """The tensor of a TensorDataset whose rows a loop over a DataLoader assigns to a name."""
    for loop in program.loops_around(node) if isinstance(node, ast.Name) else ():
        names = list(loop.target.elts) if isinstance(loop, ast.For) and isinstance(loop.target, ast.Tuple) else []
        place = next((k for k, name in enumerate(names) if dotted(name) == dotted(node)), None)
        loader = program.value(loop.iter) if isinstance(loop, ast.For) else None
        if place is None or loader is None or loader.kind != "loader" or not isinstance(loader.origin, ast.Call):
            continue
        made = argument(loader.origin, 0, "dataset")
        assigned = [
            n.value for n in program.nodes if isinstance(n, ast.Assign) and dotted(n.targets[0]) == dotted(made)
        ]
        if dotted(made):
            made = assigned[0] if len(assigned) == 1 else None
        if isinstance(made, ast.Call) and calls_method(made, ("TensorDataset",)):
            return program.value(made.args[place]) if place < len(made.args) else None
    return None


def _are_class_numbers(program: Program, value: Value, logits: ast.expr | None) -> bool:
    """Whether a tensor of floats is made of class numbers, by how it is written."""
    made = value.origin
    if not isinstance(made, ast.Call) or not made.args:
        return False
    name, first = program.callee(made).rpartition(".")[2], made.args[0]
    if name == "randint":
        sizes = next((arg for arg in made.args if isinstance(arg, ast.Tuple | ast.List)), None)
        return sizes is not None and len(sizes.elts) == 1
    if name in ("argmax", "randperm"):
        return True
    if name not in ("tensor", "as_tensor", "FloatTensor", "Tensor", "LongTensor", "IntTensor"):
        return False
    written = program.value(first.left if isinstance(first, ast.BinOp) else first)  # [0, 1] * 10
    parts = written.parts if written is not None else ()
    numbers: list[Any] = [part.constant if part is not None else None for part in parts]
    if not numbers or not all(isinstance(n, int | float) and n >= 0 and n == int(n) for n in numbers):
        return False
    scores = program.value(logits)
    is_batch = scores is not None and scores.axes is not None and len(scores.axes) > 1
    return is_batch or sum(numbers) != 1  # numbers with the sum 1 may be the probabilities of one sequence


def _is_compared(program: Program, target: ast.expr) -> bool:
    """Whether the function around compares the same labels with predicted classes."""
    function = program.function_around(target)
    node = target
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        node = node.func.value
    chosen = {
        dotted(name)
        for part in ast.walk(function)
        if isinstance(part, ast.Assign) and _takes_the_best(part.value)
        for goal in part.targets
        for name in (goal.elts[-1:] if isinstance(goal, ast.Tuple) else [goal])
    } - {""}
    for part in ast.walk(function):
        if isinstance(part, ast.Compare) and len(part.ops) == 1 and isinstance(part.ops[0], ast.Eq):
            for one, two in ((part.left, part.comparators[0]), (part.comparators[0], part.left)):
                if dotted(node) and dotted(one) == dotted(node) and (_takes_the_best(two) or dotted(two) in chosen):
                    return True
    return False


def _takes_the_best(node: ast.expr) -> bool:
    """Whether an expression is the index of the largest score, such as `scores.argmax(1)` or `torch.max(scores, 1)`."""
    if isinstance(node, ast.Subscript | ast.Attribute):
        return _takes_the_best(node.value)
    is_best = isinstance(node, ast.Call) and (
        calls_method(node, ("argmax",)) or (calls_method(node, ("max",)) and len(node.args) + len(node.keywords) > 0)
    )
    return is_best or (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _takes_the_best(node.func.value)
    )


@check(
    "one-hot-long",
    "`one_hot` returns integers (long), and the weights are floats: the layer raises an error.",
)
def one_hot_long(program: Program) -> Places:
    """One-hot vectors or other integers given to a recurrent layer or a cell."""
    for call in program.calls:
        layer = program.value(call.func)
        is_layer = layer is not None and (layer.kind in ("layer", "cell") or layer.name == "Linear")
        x = call.args[0] if is_layer and call.args else None
        value = program.value(x)
        if x is not None and value is not None and value.kind == "tensor" and value.dtype == "long":
            yield x, program.replace(x, f"{_bracketed(x)}.float()")


@check(
    "sum-against-mean",
    "One loss is a sum and the other a mean: they differ by the number of terms and cannot be compared. Divide by the "
    "same number in both.",
)
def sum_against_mean(program: Program) -> Places:
    """A mean loss divided by the number of sequences, two reductions in one program, or a sum beside a mean."""
    yield from _mean_over_dataset(program)
    yield from _two_reductions(program)
    yield from _sum_over_steps(program)


def _reduction(program: Program, call: ast.Call) -> str | None:
    value = program.value(call)
    return value.option("reduction", "mean") if value is not None else None


def _mean_over_dataset(program: Program) -> Places:
    """`total += loss.item()` for each batch, and `total / len(loader.dataset)`."""
    losses = list(program.losses())
    if not losses or any(_reduction(program, call) != "mean" for call, *_ in losses):
        return
    totals = {
        ast.unparse(node.target)
        for node in program.nodes
        if isinstance(node, ast.AugAssign)
        and ast.unparse(node.value).endswith(".item()")
        and not any(isinstance(part, ast.BinOp) for part in ast.walk(node.value))
    }
    for node in program.nodes:
        if not isinstance(node, ast.BinOp | ast.AugAssign) or not isinstance(node.op, ast.Div):
            continue
        total, count = (node.left, node.right) if isinstance(node, ast.BinOp) else (node.target, node.value)
        text = ast.unparse(count)
        if ast.unparse(total) in totals and text.startswith("len(") and text.endswith(".dataset)"):
            yield node, program.replace(count, text.replace(".dataset)", ")"))


def _two_reductions(program: Program) -> Places:
    """A loss with `reduction="sum"` and the same loss with a mean, neither divided by a number of terms."""
    losses = [(call, name, _reduction(program, call)) for call, name, *_ in program.losses()]
    for call, name, reduction in losses:
        is_mixed = any(n == name and r == "mean" for _, n, r in losses)
        if reduction == "sum" and is_mixed and not _is_divided(program, call):
            made = program.value(call)
            origin = made.layer.origin if made is not None and made.layer is not None else call
            if isinstance(origin, ast.Call):
                text = ast.unparse(origin).replace("'sum'", "'mean'")
                yield origin, program.replace(origin, text)


def _is_divided(program: Program, call: ast.Call) -> bool:
    """Whether anything in the function around a call is divided."""
    return any(isinstance(n, ast.Div) for n in ast.walk(program.function_around(call)))


def _sum_over_steps(program: Program) -> Places:
    """`loss += criterion(...)` at each step without a division, and the same loss as a mean elsewhere."""
    losses = [] if program.mentions("grad") else list(program.losses())  # torch.autograd.grad of inner losses
    summed = [call for call, *_ in losses if _is_added_up(program, call)]
    plain = [call for call, *_ in losses if not isinstance(program.parents[call], ast.AugAssign | ast.BinOp)]
    for call in summed:
        statement = program.parents[call]
        others = [other for other in plain if _name(program, other) == _name(program, call)]
        if others and not _is_divided(program, call) and isinstance(statement, ast.AugAssign):
            yield call, f"{ast.unparse(statement.target)} += {ast.unparse(call)} / steps"


def _name(program: Program, call: ast.Call) -> str:
    value = program.value(call)
    return value.name if value is not None else ""


def _is_added_up(program: Program, call: ast.Call) -> bool:
    """Whether a loss is added to a sum at each step of a loop, and the sum is what `backward` is called on."""
    statement = program.parents[call]
    if not isinstance(statement, ast.AugAssign) or not isinstance(statement.op, ast.Add):
        return False
    name = ast.unparse(statement.target)
    loop = next(program.loops_around(call), None)
    backward = [c for c, f in program.methods("backward") if ast.unparse(f.value) == name]
    return loop is not None and any(not program.within(c, loop) for c in backward)
