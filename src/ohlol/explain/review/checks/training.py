"""Checks of training: the order of `zero_grad`, `backward` and `step`, and sums of losses."""

import ast
import re

from ohlol.explain.review.check import Places, check
from ohlol.explain.review.gradients import calls_backward, is_without_gradients
from ohlol.explain.review.names import Function, calls_method, dotted
from ohlol.explain.review.program import Loop, Program, calls_in

OPTIMIZER = re.compile(r"(^|[._])(optim|optimizer|opt|sgd|adam|trainer|updater)(_?\w*)$", re.IGNORECASE)


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
    if any(calls_backward(program, call) or MAKES_GRADIENTS.search(ast.unparse(call.func)) for call in calls_in(node)):
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
        if not is_without_gradients(program, node):
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
