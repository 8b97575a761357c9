"""Checks of evaluation and prediction: gradients that are not needed, and modes that are not set."""

import ast
import re
from collections.abc import Iterator

from ohlol.explain.review.check import Places, check
from ohlol.explain.review.gradients import calls_backward, is_in_no_grad, is_without_gradients
from ohlol.explain.review.names import Function, calls_method, dotted
from ohlol.explain.review.program import EVALUATION, PREDICTION, Loop, Program, calls_in
from ohlol.explain.review.values import Value

EVALUATION_DATA = re.compile(
    r"(^|[._])(test|val|valid|validation|dev|eval)(_|$|[a-z]*(loader|data|set|iter))", re.IGNORECASE
)


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
        if not is_off and not is_without_gradients(program, part) and _trains(program):
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
    if any(c.args and ast.unparse(c.args[0]) != "True" for c, _ in program.methods("train")):
        return
    if not _trains(program):
        return
    for call in [call for _, call in evaluations(program)] or _predictions(program):
        yield call, f"{ast.unparse(call.func)}.eval()"


def _predictions(program: Program) -> Iterator[ast.Call]:
    """The calls of trained models with dropout for predictions, outside of training, by no_grad or argmax."""
    if any(DELIBERATE.search(line) for line in program.lines) or any(
        isinstance(n, ast.Attribute) and n.attr == "training" and isinstance(n.ctx, ast.Store) for n in program.nodes
    ):
        return
    trained = {value.origin for _, f in program.methods("parameters") if (value := program.value(f.value)) is not None}
    for call in program.calls:
        model = program.value(call.func)
        if model is None or not _runs_model(program, call) or model.origin not in trained:
            continue
        if not _has_modes_inside(program, model.origin) or _is_for_training(program, call):
            continue
        if is_in_no_grad(program, call) or _is_argmax_of(program, call):
            yield call


DELIBERATE = re.compile(r"monte|\bmc_?|_mc\b|uncertain|bayes|discriminator|netG|\bgan", re.IGNORECASE)
"""Words of programs that predict with dropout on purpose."""
MEASURE = re.compile(r"(^|_)(acc|accuracy|score|metrics?|perplexity|bleu)(_|$)", re.IGNORECASE)
"""Names of functions that measure a model and are no part of training where they run without gradients."""


def _is_argmax_of(program: Program, call: ast.Call) -> bool:
    """Whether the class with the largest score of a call's result is taken, at once or by a name."""
    around = program.parents[call]
    names = [dotted(target) for target in around.targets] if isinstance(around, ast.Assign) else []
    for other, function in program.methods("argmax", "max", inside=program.function_around(call)):
        receiver, *rest = [function.value, *other.args, *other.keywords]
        if dotted(receiver) == "torch" and rest:
            receiver, *rest = rest
        is_scores = receiver is call or (dotted(receiver) and dotted(receiver) in names)
        if is_scores and (function.attr == "argmax" or rest):
            return True
    return False


def _is_for_training(program: Program, call: ast.Call) -> bool:
    """Whether a call may be a part of training: `backward` is near it, or a loop that trains calls its function."""
    function = program.function_around(call)
    loops = list(program.loops_around(call))
    backs = [c for c in program.calls if calls_backward(program, c) and program.function_around(c) is function]
    inner = loops[0] if loops else None
    for other in backs:
        around = next(program.loops_around(other), None)
        if (around is not None and around is inner) or other.lineno >= call.lineno:
            return True
    if not isinstance(function, Function):
        return False
    if _is_method(program, function) or any(not list(program.loops_around(other)) for other in backs):
        return True
    if MEASURE.search(function.name):
        return False
    callers = [c for c in program.calls if calls_method(c, (function.name,))]
    return any(
        calls_backward(program, c)
        for caller in callers
        for loop in program.loops_around(caller)
        for c in calls_in(loop)
    )


def _has_modes_inside(program: Program, made: ast.AST | None) -> bool:
    """Whether a class of the program, or the call that makes a module, has dropout or batch normalization inside."""
    names = {node.name: node for node in program.nodes if isinstance(node, ast.ClassDef)}
    seen: set[ast.AST] = set()
    left = [made] if made is not None else []
    while left:
        part = left.pop()
        if part in seen:
            continue
        seen.add(part)
        for call in calls_in(part):
            if _makes_mode(program, call):
                return True
            if isinstance(call.func, ast.Name) and call.func.id in names:
                left.append(names[call.func.id])
    return False


def _has_modes(program: Program) -> bool:
    """Whether a program has a module that behaves otherwise in training."""
    return any(_makes_mode(program, call) for call in program.calls)


def _makes_mode(program: Program, call: ast.Call) -> bool:
    """Whether a call makes a module of torch.nn that behaves otherwise in training."""
    module: Value | None = program.value(call)
    if module is None or module.origin is not call:
        return False
    if module.kind == "module" and module.name.startswith(("Dropout", "BatchNorm")):
        return module.option("p", 0.5) != 0
    return module.is_recurrent and module.text("dropout") not in ("", "0", "0.0") and module.num_layers != 1


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
    loops = [n for n in program.nodes if isinstance(n, Loop) and any(calls_backward(program, c) for c in calls_in(n))]
    for call, function in program.methods("eval"):
        around = program.function_around(call)
        name = around.name if isinstance(around, Function) else ""
        is_called = any(name and calls_method(c, (name,)) for loop in loops for c in calls_in(loop))
        if not call.args and (is_called or any(program.within(call, loop) for loop in loops)):
            yield call, f"{ast.unparse(function.value)}.train()  # before each epoch of training"
