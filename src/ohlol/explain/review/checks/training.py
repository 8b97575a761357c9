"""Checks of training and evaluation: gradients that are not reset, and modes that are not set."""

import ast
import re
from collections.abc import Iterator

from ohlol.explain.review.check import Places, check
from ohlol.explain.review.names import Function, calls_method, dotted
from ohlol.explain.review.program import EVALUATION, PREDICTION, Loop, Program, calls_in
from ohlol.explain.review.values import Value

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
    """Whether a loop calls a function of the program that resets the gradients, or passes one to `step`."""
    resetting = [function.name for function in program.functions if _resets(function)]
    calls = calls_in(loop)
    closures = {dotted(part).rpartition(".")[2] for call in calls for part in call.args}
    return any(calls_method(call, resetting) for call in calls) or not closures.isdisjoint(resetting)


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


@check(
    "step-before-backward",
    "`step` comes before `backward`: it uses the gradients of the batch before, or none after `zero_grad`.",
)
def step_before_backward(program: Program) -> Places:
    """`step` and then `backward` in one block, of a loss that is there before the step."""
    calls = [
        c for c in steps(program) if not c.args and not c.keywords and not NO_OPTIMIZER.search(ast.unparse(c.func))
    ]
    for call in calls:
        statement = program.parents[call]
        parent = program.parents.get(statement)
        blocks = [getattr(parent, name, None) for name in ("body", "orelse")]
        block = next((b for b in blocks if isinstance(b, list) and statement in b), None)
        if block is None or not isinstance(statement, ast.Expr):
            continue
        place = block.index(statement)
        before, after = block[:place], block[place + 1 :]
        if not any(_makes_gradients(program, part) for part in before) and _backward_of(before, after):
            yield call, f"{program.line(call)}  # after loss.backward()"


NO_OPTIMIZER = re.compile(r"sched|trainer|updater|\(", re.IGNORECASE)
"""What is no optimizer although `step` is called on it, or may call `backward` itself."""


MAKES_GRADIENTS = re.compile(r"backward|gradient|_grads\b|\bgrad\b")
"""Names of functions, of other files too, that compute gradients."""


def _makes_gradients(program: Program, node: ast.AST) -> bool:
    """Whether a statement calls `backward`, by itself or in a function of the program, or sets gradients."""
    if any(_backs(program, call) or MAKES_GRADIENTS.search(ast.unparse(call.func)) for call in calls_in(node)):
        return True
    return any(isinstance(n, ast.Attribute) and n.attr == "grad" for n in ast.walk(node))


def _backward_of(before: list[ast.stmt], after: list[ast.stmt]) -> bool:
    """Whether `backward` stands in a block after a step, of a loss from before it or after a reset before it."""
    names = {
        dotted(node)
        for part in before
        for node in ast.walk(part)
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store)
    }
    is_reset = any(isinstance(p, ast.Expr) and isinstance(p.value, ast.Call) and _resets(p) for p in before)
    for part in after:
        call = part.value if isinstance(part, ast.Expr) else None
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "backward":
            return is_reset or dotted(call.func.value) in names
        renewed = {dotted(n) for n in ast.walk(part) if isinstance(getattr(n, "ctx", None), ast.Store)}
        names -= renewed
    return False


@check(
    "total-not-detached",
    "Each loss is a tensor with a graph, and their sum keeps the graphs of all batches in memory. Add the numbers, "
    "`loss.item()`.",
)
def total_not_detached(program: Program) -> Places:
    """`total += loss` in the loop that calls `loss.backward()`, where the total itself is for reports alone."""
    for node in program.nodes:
        found = _added(node)
        loops = list(program.loops_around(node)) if found is not None else []
        if found is None or not loops:
            continue
        total, added = found
        loss = dotted(added)
        function = program.function_around(node)
        backward = [call for call in calls_in(function) if calls_method(call, ("backward",))]
        own = [call for call in calls_in(loops[0]) if calls_method(call, ("backward",)) and _mentions(call, loss)]
        has_graph = not any(_mentions(call, total) or _keeps_graph(call) for call in backward)
        if not own or not has_graph or not _starts_as_number(program, total):
            continue
        if any(_is_plain(program, loop, loss) for loop in loops) or _is_plain(program, function, total):
            continue
        if not _is_without_gradients(program, node):
            yield node, program.replace(added, f"{loss}.item()")


def _added(node: ast.AST) -> tuple[str, ast.expr] | None:
    """The name of a total, and the name that is added to it, as it is or times or divided by something."""
    if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add):
        total, value = dotted(node.target), node.value
    elif isinstance(node, ast.Assign) and isinstance(node.value, ast.BinOp) and isinstance(node.value.op, ast.Add):
        total, value = dotted(node.targets[0]), node.value.right
        if dotted(node.value.left) != total:
            return None
    else:
        return None
    while isinstance(value, ast.BinOp) and isinstance(value.op, ast.Mult | ast.Div) and dotted(value.left):
        value = value.left
    return (total, value) if total and dotted(value) and dotted(value) != total else None


def _mentions(node: ast.AST, name: str) -> bool:
    return any(dotted(part) == name for part in ast.walk(node))


def _keeps_graph(call: ast.Call) -> bool:
    return any(word.arg in ("retain_graph", "create_graph", None) for word in call.keywords)


def _starts_as_number(program: Program, name: str) -> bool:
    """Whether a name is set to a number, or to a tensor of zeros, somewhere in a program."""
    for node in program.nodes:
        if not isinstance(node, ast.Assign):
            continue
        for target in node.targets:
            pairs = [(target, node.value)]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = list(zip(target.elts, node.value.elts, strict=False))
            for part, value in pairs:
                is_number = isinstance(value, ast.Constant) and isinstance(value.value, int | float)
                if dotted(part) == name and (is_number or ast.unparse(value).startswith("torch.zeros(")):
                    return True
    return False


def _is_plain(program: Program, part: ast.AST, name: str) -> bool:
    """Whether a part of a program sets a name to a number or a detached tensor."""
    for node in ast.walk(part):
        if isinstance(node, ast.Assign) and not isinstance(node.value, ast.Constant):
            names = {dotted(n) for target in node.targets for n in ast.walk(target)}
            if name in names and _makes_plain(node.value):
                return True
        if isinstance(node, ast.Call) and calls_method(node, ("detach_",)) and _mentions(node, name):
            return True
    return False


def _makes_plain(node: ast.expr) -> bool:
    """Whether an expression is a number or a detached tensor, such as `loss.detach().cpu()`."""
    match node:
        case ast.Tuple():
            return any(_makes_plain(part) for part in node.elts)
        case ast.Attribute():
            return node.attr in PLAIN or _makes_plain(node.value)
        case ast.Subscript():
            return _makes_plain(node.value)
        case ast.BinOp():
            return _makes_plain(node.left) or _makes_plain(node.right)
        case ast.Call(func=ast.Name(id=name)):
            return name in PLAIN or (name in ("round", "abs") and any(_makes_plain(part) for part in node.args))
        case ast.Call():
            return _makes_plain(node.func)
        case _:
            return False


PLAIN = ("item", "detach", "float", "numpy", "tolist", "data")
"""Methods, functions and attributes whose result has no graph."""


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
        if _is_in_no_grad(program, call) or _is_argmax_of(program, call):
            yield call


DELIBERATE = re.compile(r"monte|\bmc_?|_mc\b|uncertain|bayes|discriminator|netG|\bgan", re.IGNORECASE)
"""Words of programs that predict with dropout on purpose."""
MEASURE = re.compile(r"(^|_)(acc|accuracy|score|metrics?|perplexity|bleu)(_|$)", re.IGNORECASE)
"""Names of functions that measure a model and are no part of training where they run without gradients."""


def _is_in_no_grad(program: Program, node: ast.AST) -> bool:
    """Whether a place is in `with torch.no_grad()`, or in a function decorated with it."""
    while node in program.parents:
        node = program.parents[node]
        heads = node.items if isinstance(node, ast.With) else []
        decorators = node.decorator_list if isinstance(node, Function) else []
        if any(word in ast.unparse(head) for head in [*heads, *decorators] for word in ("no_grad", "inference_mode")):
            return True
        if isinstance(node, Function):
            return False
    return False


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
    backs = [c for c in program.calls if _backs(program, c) and program.function_around(c) is function]
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
        _backs(program, c) for caller in callers for loop in program.loops_around(caller) for c in calls_in(loop)
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
            value = program.value(call)
            if value is not None and value.origin is call and _has_mode(value):
                return True
            if isinstance(call.func, ast.Name) and call.func.id in names:
                left.append(names[call.func.id])
    return False


def _has_modes(program: Program) -> bool:
    """Whether a program has a module that behaves otherwise in training."""
    for call in program.calls:
        value = program.value(call)
        if value is None or value.origin is not call:
            continue
        if _has_mode(value):
            return True
    return False


def _has_mode(module: Value) -> bool:
    """Whether a module of torch.nn behaves otherwise in training."""
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
