"""Checks of a state that is carried from one batch to the next."""

import ast
from collections.abc import Iterator

from ohlol.explain.review.check import Places, check
from ohlol.explain.review.names import calls_method, dotted
from ohlol.explain.review.program import Loop, Program, calls_in

SHUFFLES = ("shuffle", "randperm", "sample", "randint", "choice", "permutation", "random_chunk", "random_sample")


def carried(program: Program) -> Iterator[tuple[Loop, ast.Assign, str]]:
    """States that a training loop passes to the next batch: the loop, the assignment and the name of the state."""
    for loop in (node for node in program.nodes if isinstance(node, Loop)):
        backward = [
            c for c, _ in program.methods("backward", inside=loop) if next(program.loops_around(c), None) is loop
        ]
        if not backward:
            continue
        assigns = [node for node in ast.walk(loop) if isinstance(node, ast.Assign)]
        for assign in assigns:
            for name in _carried_names(assign):
                if not _is_renewed(loop, assigns, name):
                    yield loop, assign, name
    yield from _carried_attributes(program)


def _carried_names(assign: ast.Assign, *, through_detach: bool = False) -> list[str]:
    """The names that an assignment sets from a call that has them as arguments, detached or as they are."""
    if not isinstance(assign.value, ast.Call):
        return []
    targets = {dotted(node) for target in assign.targets for node in ast.walk(target)} - {""}
    given = [*assign.value.args, *(word.value for word in assign.value.keywords)]
    flat = [part for g in given for part in (g.elts if isinstance(g, ast.Tuple | ast.List) else [g])]
    if through_detach:
        flat = [p.func.value if isinstance(p, ast.Call) and isinstance(p.func, ast.Attribute) else p for p in flat]
    is_model = not calls_method(assign.value, ("detach", "repackage_hidden", "tuple", "clip_grad_norm_", "append"))
    return sorted(targets & {dotted(part) for part in flat}) if is_model and _may_run(assign.value) else []


def _may_run(call: ast.Call) -> bool:
    """Whether a call may run a model: not one of torch's functions or of a tensor's methods, which have no state."""
    name = dotted(call.func)
    return bool(name) and not name.startswith(("torch.", "F.", "np.", "math."))


def _is_renewed(loop: ast.AST, assigns: list[ast.Assign], name: str) -> bool:
    """Whether a loop detaches a state or sets it anew."""
    for assign in assigns:
        targets = {dotted(node) for target in assign.targets for node in ast.walk(target)}
        if name in targets and name not in _carried_names(assign):
            return True
    calls = calls_in(loop)
    if any(calls_method(call, ("detach", "detach_", "repackage_hidden")) for call in calls):
        return True
    return isinstance(loop, ast.For) and name in {dotted(node) for node in ast.walk(loop.target)}


def _carried_attributes(program: Program) -> Iterator[tuple[Loop, ast.Assign, str]]:
    """The same for `self.hidden`, which `forward` passes to itself."""
    loops = [
        n for n in program.nodes if isinstance(n, Loop) and any(True for _ in program.methods("backward", inside=n))
    ]
    for function in program.functions:
        if function.name != "forward" or not loops:
            continue
        assigns = [node for node in ast.walk(function) if isinstance(node, ast.Assign)]
        for assign in assigns:
            for name in _carried_names(assign):
                is_kept = name.startswith("self.") and not _is_renewed(function, assigns, name)
                if is_kept and not _is_set_in_loop(program, loops, name.removeprefix("self.")):
                    yield loops[0], assign, name


def _is_set_in_loop(program: Program, loops: list[Loop], attribute: str) -> bool:
    """Whether a training loop sets an attribute of the model, or calls a method that does."""
    setters = {
        function.name
        for function in program.functions
        if function.name not in ("__init__", "forward")
        and any(
            (isinstance(n, ast.Attribute) and n.attr == attribute and isinstance(n.ctx, ast.Store))
            or (isinstance(n, ast.Call) and calls_method(n, ("detach_",)))
            for n in ast.walk(function)
        )
    }
    for loop in loops:
        for node in ast.walk(loop):
            if isinstance(node, ast.Attribute) and node.attr == attribute and isinstance(node.ctx, ast.Store):
                return True
            if isinstance(node, ast.Call) and calls_method(node, setters):
                return True
    return False


def is_shuffled(program: Program, loop: Loop) -> bool:
    """Whether a loop over batches goes through them in a random order."""
    if not isinstance(loop, ast.For):
        return any(calls_method(call, SHUFFLES) for call in calls_in(loop))
    values = [program.value(node) for node in ast.walk(loop.iter)]
    if any(v is not None and v.kind == "loader" and v.option("shuffle", False) is True for v in values):
        return True
    return any(calls_method(call, SHUFFLES) for call in calls_in(loop.iter))


@check(
    "state-not-detached",
    "The state still belongs to the graph of the batch before: `backward` goes through all earlier batches, or raises "
    "an error since their graph was freed. Detach it.",
)
def state_not_detached(program: Program) -> Places:
    """A state that a training loop passes to the next batch as it is."""
    for loop, assign, name in carried(program):
        if not is_shuffled(program, loop):
            value = program.value(_node_of(assign, name))
            is_pair = value is not None and value.kind == "tuple"
            yield assign, f"{name} = tuple(s.detach() for s in {name})" if is_pair else f"{name} = {name}.detach()"


def _node_of(assign: ast.Assign, name: str) -> ast.AST | None:
    return next((n for n in ast.walk(assign.value) if dotted(n) == name), None)


@check(
    "state-across-shuffled",
    "The batches are shuffled, so the next one does not continue these sequences: it starts with the state of "
    "unrelated ones. Start each batch with a new state.",
)
def state_across_shuffled(program: Program) -> Places:
    """A state that is carried over batches in random order, detached or not."""
    for loop, assign, name in carried(program):
        if is_shuffled(program, loop):
            yield assign, f"{name} = None"
    for loop in (node for node in program.nodes if isinstance(node, ast.For) and is_shuffled(program, node)):
        assigns = [node for node in ast.walk(loop) if isinstance(node, ast.Assign)]
        backward = any(True for _ in program.methods("backward", inside=loop))
        for assign in assigns if backward else ():
            for name in _carried_names(assign, through_detach=True):
                if _is_only_detached(loop, assigns, name):
                    yield assign, f"{name} = None"


def _is_only_detached(loop: ast.For, assigns: list[ast.Assign], name: str) -> bool:
    """Whether a loop detaches a state and never sets it to anything else."""
    others = [a for a in assigns if name in {dotted(n) for t in a.targets for n in ast.walk(t)}]
    others = [a for a in others if name not in _carried_names(a, through_detach=True)]
    uses = [any(dotted(node) == name for node in ast.walk(a.value)) for a in others]
    is_detached = any(calls_method(c, ("detach", "detach_", "repackage_hidden")) for c in calls_in(loop))
    return all(uses) and (is_detached or any(isinstance(n, ast.Attribute) and n.attr == "data" for n in ast.walk(loop)))
