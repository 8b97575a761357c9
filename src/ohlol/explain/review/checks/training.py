"""Checks of training and evaluation: gradients that are not reset, and modes that are not set."""

import ast
import re

from ohlol.explain.review.check import Places, check
from ohlol.explain.review.names import Function, calls_method, dotted
from ohlol.explain.review.program import EVALUATION, PREDICTION, Loop, Program, calls_in

OPTIMIZER = re.compile(r"(^|[._])(optim|optimizer|opt|sgd|adam|trainer|updater)(_?\w*)$", re.IGNORECASE)
NO_GRAD = ("no_grad", "inference_mode", "set_grad_enabled", "detach", "enable_grad")
EVALUATION_DATA = re.compile(
    r"(^|[._])(test|val|valid|validation|dev|eval)(_|$|[a-z]*(loader|data|set|iter))", re.IGNORECASE
)


def steps(program: Program) -> list[ast.Call]:
    """The calls of `optimizer.step()`."""
    found: list[ast.Call] = []
    for call, function in program.methods("step"):
        value = program.value(function.value)
        is_named = value is None and OPTIMIZER.search(dotted(function.value)) is not None
        if is_named or (value is not None and value.kind == "optimizer"):
            found.append(call)
    return found


def _resets(node: ast.AST) -> bool:
    """Whether a part of a program sets gradients to zero or None."""
    if any(calls_method(call, ("zero_grad", "clear_grad")) for call in calls_in(node)):
        return True
    return any(
        (isinstance(n, ast.Attribute) and n.attr == "grad" and isinstance(n.ctx, ast.Store))
        or (isinstance(n, ast.Call) and calls_method(n, ("zero_", "zero_gradients")) and "grad" in ast.unparse(n.func))
        for n in ast.walk(node)
    )


@check(
    "no-zero-grad",
    "`backward` adds to the gradients that are there: without `zero_grad` each step uses the sum of the gradients of "
    "all batches so far.",
)
def no_zero_grad(program: Program) -> Places:
    """`optimizer.step()` in a loop, or in a function that one calls, without a reset of the gradients there."""
    for call in steps(program):
        loops = list(program.loops_around(call))
        if loops:
            is_missing = not _resets(loops[0]) and not _calls_a_reset(program, loops[0])
        else:
            function = program.function_around(call)
            trains = any(calls_method(c, ("backward",)) for c in calls_in(function))
            is_missing = trains and isinstance(function, Function) and not _resets(program.tree)
        if is_missing:
            assert isinstance(call.func, ast.Attribute)
            yield call, f"{ast.unparse(call.func.value)}.zero_grad()  # before loss.backward()"


def _calls_a_reset(program: Program, loop: Loop) -> bool:
    """Whether a loop calls a function of the program that resets the gradients."""
    resetting = [function.name for function in program.functions if _resets(function)]
    return any(calls_method(call, resetting) for call in calls_in(loop))


@check(
    "zero-grad-before-step",
    "`zero_grad` stands between `backward` and `step`: it removes the gradients before they are used, and nothing is "
    "learned. It belongs before `backward`.",
)
def zero_grad_before_step(program: Program) -> Places:
    """`backward`, `zero_grad` and `step` in this order in one block."""
    for parent in ast.walk(program.tree):
        for block in (getattr(parent, "body", None), getattr(parent, "orelse", None)):
            last, reset = "", None
            for statement in block if isinstance(block, list) else ():
                call = statement.value if isinstance(statement, ast.Expr) else None
                name = call.func.attr if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) else ""
                if name == "zero_grad" and last == "backward":
                    reset = call
                elif name == "step" and call in steps(program) and reset is not None:
                    yield reset, f"{program.line(reset)}  # before loss.backward()"
                if name in ("backward", "step"):
                    last, reset = name, reset if name == "backward" and last == name else None


def evaluations(program: Program) -> list[tuple[ast.AST, ast.Call]]:
    """The parts of a program that evaluate a model: functions and loops by their names, and the call of the model."""
    parts: list[ast.AST] = [f for f in program.functions if _evaluates(f) and not _is_method(program, f)]
    for node in program.nodes:
        if isinstance(node, ast.For) and any(EVALUATION_DATA.search(dotted(part)) for part in ast.walk(node.iter)):
            parts.append(node)
    found: list[tuple[ast.AST, ast.Call]] = []
    for part in parts:
        calls = calls_in(part)
        runs = [call for call in calls if _runs_model(program, call)]
        if runs and not any(calls_method(call, ("backward", "step")) for call in calls):
            found.append((part, runs[0]))
    return found


def _evaluates(function: Function) -> bool:
    """Whether a function is named as one that evaluates a model, or predicts with it."""
    return (EVALUATION.search(function.name) or PREDICTION.search(function.name)) is not None


def _is_method(program: Program, function: Function) -> bool:
    """Whether a function is a method of a module, whose caller chooses the mode."""
    owner = program.parents[function]
    if not isinstance(owner, ast.ClassDef):
        return False
    is_module = any(ast.unparse(base).endswith("Module") for base in owner.bases)
    return is_module or any(isinstance(part, Function) and part.name == "forward" for part in owner.body)


def _runs_model(program: Program, call: ast.Call) -> bool:
    value = program.value(call.func)
    return value is not None and value.kind in ("instance", "layer", "module") and value.name != "Embedding"


def _is_without_gradients(program: Program, node: ast.AST) -> bool:
    """Whether a part of a program runs without gradients: by itself, by what is around it, or by all its callers."""
    inside = [*calls_in(node), *(part for part in ast.walk(node) if isinstance(part, ast.Attribute))]
    if any(dotted(getattr(part, "func", part)).rpartition(".")[2] in NO_GRAD for part in inside):
        return True
    around = node
    while around in program.parents:
        around = program.parents[around]
        items = around.items if isinstance(around, ast.With) else []
        heads = [*items, *(around.decorator_list if isinstance(around, Function) else [])]
        if any(name in ast.unparse(head) for head in heads for name in NO_GRAD):
            return True
    if isinstance(node, Function):
        callers = [call for call in program.calls if calls_method(call, (node.name,))]
        return bool(callers) and all(_is_without_gradients(program, call) for call in callers)
    return False


@check(
    "evaluation-with-gradients",
    "The evaluation keeps a graph for a backward pass that never comes: it takes memory and time. Run it in "
    "`with torch.no_grad():`.",
)
def evaluation_with_gradients(program: Program) -> Places:
    """A model that is evaluated without no_grad or inference_mode."""
    is_off = any(calls_method(c, ("set_grad_enabled",)) for c in program.calls)
    for part, call in evaluations(program):
        is_function = isinstance(part, Function)
        if is_function and PREDICTION.search(part.name) and not list(program.loops_around(call)):
            continue  # the graph of one prediction is freed with its result
        if not is_off and not _is_without_gradients(program, part) and _trains(program):
            yield (call if is_function else part), "@torch.no_grad()" if is_function else "with torch.no_grad():"


def _trains(program: Program) -> bool:
    return program.mentions("backward")


@check(
    "no-eval",
    "The model has dropout or batch normalization, which act as in training until `eval()` is called: the results of "
    "the evaluation are random.",
)
def no_eval(program: Program) -> Places:
    """A model with dropout that is evaluated in a program that never calls eval."""
    if program.mentions("eval") or not _has_modes(program):
        return
    if any(calls_method(c, ("train",)) and c.args and ast.unparse(c.args[0]) != "True" for c in program.calls):
        return
    for _, call in evaluations(program):
        if _trains(program):
            yield call, f"{ast.unparse(call.func)}.eval()"


def _has_modes(program: Program) -> bool:
    """Whether a program has a module that behaves otherwise in training."""
    for call in program.calls:
        value = program.value(call)
        if value is None or value.origin is not call:
            continue
        if value.kind == "module" and value.name.startswith(("Dropout", "BatchNorm")):
            return value.option("p", 0.5) != 0
        if value.is_recurrent and value.text("dropout") not in ("", "0", "0.0") and value.num_layers != 1:
            return True
    return False


@check(
    "no-train-after-eval",
    "`eval()` is called in the loop over epochs and `train()` is not: from the second epoch on the model trains "
    "without dropout.",
)
def no_train_after_eval(program: Program) -> Places:
    """`eval()` in a training loop, or in a function that one calls, in a program that never calls train."""
    if program.mentions("train") and any(
        calls_method(c, ("train",)) and isinstance(c.func, ast.Attribute) for c in program.calls
    ):
        return
    if not _has_modes(program):
        return
    loops = [n for n in program.nodes if isinstance(n, Loop) and any(_backs(program, c) for c in calls_in(n))]
    for call, function in program.methods("eval"):
        around = program.function_around(call)
        name = around.name if isinstance(around, Function) else ""
        is_called = any(name and calls_method(c, (name,)) for loop in loops for c in calls_in(loop))
        if not call.args and (is_called or any(program.within(call, loop) for loop in loops)):
            yield call, f"{ast.unparse(function.value)}.train()  # before each epoch of training"


def _backs(program: Program, call: ast.Call) -> bool:
    """Whether a call is `backward`, or of a function of the program that calls it."""
    if calls_method(call, ("backward",)):
        return True
    training = [f.name for f in program.functions if any(calls_method(c, ("backward",)) for c in calls_in(f))]
    return calls_method(call, training)
