"""What each expression of a program stands for: statements are followed in order, a few rounds over the program.

A branch keeps what both of its ways agree on, a loop is followed twice so that what it carries over is known, and the
arguments and results of the program's own functions and classes are known from the round before.
"""

import ast
from collections.abc import Iterator
from typing import Any

from ohlol.explain.review import tensors
from ohlol.explain.review.names import Function, Imports, dotted
from ohlol.explain.review.values import RECURRENT, RECURRENT_CELLS, Option, Value, join

ROUNDS = 4
"""Enough for a value to pass through a class, its method and the function that calls it."""

MAX_LOOPS = 4
"""Nested loops that are followed twice each."""

Scope = dict[str, Value | None]

RECURRENT_OPTIONS = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional")
POSITIONS = dict.fromkeys(RECURRENT, RECURRENT_OPTIONS) | {
    "RNN": ("input_size", "hidden_size", "num_layers", "nonlinearity", *RECURRENT_OPTIONS[3:]),
    "Linear": ("in_features", "out_features"),
    "Embedding": ("num_embeddings", "embedding_dim", "padding_idx"),
    "DataLoader": ("dataset", "batch_size", "shuffle", "sampler"),
}
"""Options of constructors that may be given by position."""
SAME = ("to", "cuda", "cpu", "eval", "train", "double", "half", "apply", "requires_grad_", "compile", "DataParallel")
"""Methods and functions that return the module they are given or called on."""


class Interpreter:
    """Follows a program and keeps the value of each expression.

    Attributes:
        values: the value of each expression that is known.
    """

    def __init__(self, tree: ast.Module, imports: Imports) -> None:
        self.values: dict[ast.AST, Value] = {}
        self.imports = imports
        self._attributes: dict[tuple[ast.ClassDef, str], Value | None] = {}
        self._results: dict[Function, Value | None] = {}
        self._arguments: dict[tuple[Function, str], list[Value | None]] = {}
        self._bound: dict[tuple[Function, str], Value | None] = {}
        self._classes = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
        self._functions = {node.name: node for node in tree.body if isinstance(node, Function)}
        self._globals: Scope = {}
        self._loops = 0
        for _ in range(ROUNDS):
            self._arguments = {}
            self._block(tree.body, self._globals, None)
            for key, values in self._arguments.items():
                merged = values[0]
                for value in values[1:]:
                    merged = join(merged, value)
                self._bound[key] = merged

    # statements

    def _block(self, statements: list[ast.stmt], scope: Scope, owner: ast.ClassDef | None) -> None:
        for statement in statements:
            self._statement(statement, scope, owner)

    def _statement(self, node: ast.stmt, scope: Scope, owner: ast.ClassDef | None) -> None:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self._function(node, scope, owner)
            case ast.ClassDef():
                methods = [part for part in node.body if isinstance(part, Function)]
                self._block([part for part in node.body if part not in methods], dict(scope), node)
                for method in sorted(methods, key=lambda method: method.name != "__init__"):
                    self._function(method, scope, node)
            case ast.Assign():
                value = self._evaluate(node.value, scope)
                for target in node.targets:
                    self._assign(target, value, scope)
            case ast.AnnAssign():
                self._assign(node.target, self._evaluate(node.value, scope) if node.value else None, scope)
            case ast.AugAssign():
                self._evaluate(node.value, scope)
                self._assign(node.target, None, scope)
            case ast.Return():
                value = self._evaluate(node.value, scope) if node.value else None
                results = scope.setdefault("return", Value("tuple"))
                if results is not None:
                    scope["return"] = results.but(parts=(*results.parts, value))
            case ast.If():
                self._evaluate(node.test, scope)
                self._branches([node.body, node.orelse], scope, owner)
            case ast.For() | ast.AsyncFor():
                values = self._evaluate(node.iter, scope)
                for _ in self._passes():
                    self._assign(node.target, tensors.element(values), scope)
                    self._block(node.body, scope, owner)
                self._block(node.orelse, scope, owner)
            case ast.While():
                for _ in self._passes():
                    self._evaluate(node.test, scope)
                    self._block(node.body, scope, owner)
            case ast.With() | ast.AsyncWith():
                for item in node.items:
                    value = self._evaluate(item.context_expr, scope)
                    if item.optional_vars is not None:
                        self._assign(item.optional_vars, value, scope)
                self._block(node.body, scope, owner)
            case ast.Try():
                handlers = [handler.body for handler in node.handlers]
                self._block(node.body, scope, owner)
                for handler in handlers:
                    self._branches([[], handler], scope, owner)
                self._block(node.orelse, scope, owner)
                self._block(node.finalbody, scope, owner)
            case _:
                for child in ast.iter_child_nodes(node):
                    if isinstance(child, ast.expr):
                        self._evaluate(child, scope)

    def _passes(self) -> Iterator[int]:
        """The times that a loop is followed: twice, or once where it is nested so deeply that it would take long."""
        self._loops += 1
        yield from range(2 if self._loops <= MAX_LOOPS else 1)
        self._loops -= 1

    def _branches(self, bodies: list[list[ast.stmt]], scope: Scope, owner: ast.ClassDef | None) -> None:
        ends: list[Scope] = []
        for body in bodies:
            end = dict(scope)
            self._block(body, end, owner)
            if not body or not isinstance(body[-1], ast.Return | ast.Raise | ast.Continue | ast.Break):
                ends.append(end)
            scope["return"] = end.get("return")
            if scope["return"] is None:
                del scope["return"]
        names = {name for end in ends for name in end if name != "return"}
        for name in names:
            found = [end[name] for end in ends if name in end]  # a name that one branch alone sets is its
            merged = found[0]
            for value in found[1:]:
                merged = join(merged, value)
            scope[name] = merged

    def _function(self, node: Function, scope: Scope, owner: ast.ClassDef | None) -> None:
        scope[node.name] = Value("function", node.name, origin=node) if owner is None else scope.get(node.name)
        inside = {name: value for name, value in scope.items() if name != "return"}
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        defaults = dict(zip([a.arg for a in reversed(node.args.args)], reversed(node.args.defaults), strict=False))
        defaults |= {
            a.arg: value
            for a, value in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
            if value is not None
        }
        for position, parameter in enumerate(arguments):
            name = parameter.arg
            if owner is not None and position == 0:
                inside[name] = Value("instance", owner.name, origin=owner)
            elif (node, name) in self._bound:
                inside[name] = self._bound[node, name]
            else:
                inside[name] = self._evaluate(defaults[name], scope) if name in defaults else None
        self._block(node.body, inside, owner)
        if owner is not None and arguments:  # what the branches of the method agree on
            prefix = f"{arguments[0].arg}."
            for name, value in inside.items():
                if name.startswith(prefix) and (owner, name.removeprefix(prefix)) in self._attributes:
                    self._attributes[owner, name.removeprefix(prefix)] = value
        results = inside.get("return")
        merged = results.parts[0] if results is not None and results.parts else None
        for value in results.parts[1:] if results is not None else ():
            merged = join(merged, value)
        self._results[node] = merged

    def _assign(self, target: ast.expr, value: Value | None, scope: Scope) -> None:
        match target:
            case ast.Name():
                scope[target.id] = value
            case ast.Attribute():
                base = self._evaluate(target.value, scope)
                if base is not None and base.kind == "instance" and isinstance(base.origin, ast.ClassDef):
                    self._attributes[base.origin, target.attr] = value
                scope[dotted(target)] = value
            case ast.Tuple() | ast.List():
                parts = tensors.unpack(value, len(target.elts))
                for part, element in zip(target.elts, parts, strict=True):
                    self._assign(part, element, scope)
            case ast.Starred():
                self._assign(target.value, None, scope)
            case _:
                self._evaluate(target, scope)

    # expressions

    def _evaluate(self, node: ast.expr, scope: Scope) -> Value | None:
        value = self._value(node, scope)
        if value is None:
            self.values.pop(node, None)
        else:
            self.values[node] = value
        return value

    def _value(self, node: ast.expr, scope: Scope) -> Value | None:
        match node:
            case ast.Constant():
                return Value("constant", constant=node.value)
            case ast.Name():
                return scope[node.id] if node.id in scope else self._globals.get(node.id)
            case ast.Attribute():
                return self._attribute(node, scope)
            case ast.Tuple() | ast.List():
                return Value("tuple", parts=tuple(self._evaluate(part, scope) for part in node.elts))
            case ast.Subscript():
                base = self._evaluate(node.value, scope)
                self._evaluate(node.slice, scope)
                return tensors.subscript(base, node)
            case ast.Call():
                return self._call(node, scope)
            case ast.IfExp():
                self._evaluate(node.test, scope)
                first, second = self._evaluate(node.body, scope), self._evaluate(node.orelse, scope)
                return join(first, second)
            case ast.NamedExpr():
                value = self._evaluate(node.value, scope)
                self._assign(node.target, value, scope)
                return value
            case ast.BinOp():
                first, second = self._evaluate(node.left, scope), self._evaluate(node.right, scope)
                return tensors.combine(node, first, second)
            case ast.UnaryOp():
                value = self._evaluate(node.operand, scope)
                if isinstance(node.op, ast.USub) and value is not None and isinstance(value.constant, int | float):
                    return value.but(constant=-value.constant)
                return None
            case ast.ListComp() | ast.GeneratorExp() | ast.SetComp() | ast.DictComp():
                return self._comprehension(node, scope)
            case ast.Lambda():
                self._evaluate(node.body, dict(scope) | {a.arg: None for a in node.args.args})
                return None
            case _:
                for child in ast.iter_child_nodes(node):
                    if isinstance(child, ast.expr):
                        self._evaluate(child, scope)
                return None

    def _comprehension(
        self, node: ast.ListComp | ast.GeneratorExp | ast.SetComp | ast.DictComp, scope: Scope
    ) -> Value | None:
        inside = dict(scope)
        for generator in node.generators:
            self._assign(generator.target, tensors.element(self._evaluate(generator.iter, inside)), inside)
            for test in generator.ifs:
                self._evaluate(test, inside)
        if isinstance(node, ast.DictComp):
            self._evaluate(node.value, inside)
            return None
        return Value("list", layer=self._evaluate(node.elt, inside))

    def _attribute(self, node: ast.Attribute, scope: Scope) -> Value | None:
        base = self._evaluate(node.value, scope)
        name = dotted(node)
        if name and name in scope:
            return scope[name]
        if base is not None and base.kind == "instance" and isinstance(base.origin, ast.ClassDef):
            return self._attributes.get((base.origin, node.attr))
        return tensors.attribute(base, node)

    def _call(self, node: ast.Call, scope: Scope) -> Value | None:
        arguments = [self._evaluate(part, scope) for part in node.args]
        words = {word.arg: self._evaluate(word.value, scope) for word in node.keywords}
        if isinstance(node.func, ast.Call | ast.Subscript | ast.Name):
            callee = self._evaluate(node.func, scope)
        else:
            callee = self._evaluate(node.func, scope) if isinstance(node.func, ast.Attribute) else None
        full = self.imports.full_name(node.func)
        path, _, name = full.rpartition(".")
        name = node.func.attr if isinstance(node.func, ast.Attribute) else name
        receiver = self.values.get(node.func.value) if isinstance(node.func, ast.Attribute) else None
        if full.startswith("torch"):
            return self._torch(node, path, name, arguments, words)
        if name in self._classes and not path:
            return self._instance(node, self._classes[name], arguments, words)
        if callee is not None and callee.kind == "function":
            return self._own(callee.origin, arguments, words)
        if callee is not None and callee.kind in ("layer", "cell", "module", "loss", "instance"):
            return self._apply(node, callee, arguments, words)
        if receiver is not None and receiver.kind == "instance" and isinstance(receiver.origin, ast.ClassDef):
            method = _method(receiver.origin, name)
            if method is not None:
                return self._own(method, [receiver, *arguments], words)
        if name in SAME and receiver is not None and receiver.kind != "tensor":
            return receiver
        if isinstance(node.func, ast.Attribute) and (receiver is not None or tensors.is_method(name)):
            return tensors.method(receiver or tensors.tensor(), name, node, arguments)
        return tensors.builtin(name, node, arguments)

    def _torch(
        self, node: ast.Call, path: str, name: str, arguments: list[Value | None], words: dict[str | None, Value | None]
    ) -> Value | None:
        if name in SAME:
            return arguments[0] if arguments else None
        if not name[:1].isupper() or name.endswith("Tensor"):
            if path == "torch.nn.functional" and name in tensors.FUNCTIONAL_LOSSES:
                return Value("loss_value", tensors.FUNCTIONAL_LOSSES[name], node, self._options(node, "", words))
            return tensors.function(name, node, arguments, words)
        options = self._options(node, name, words)
        fields: dict[str, Any] = {
            "origin": node,
            "options": options,
            "is_partial": any(word.arg is None for word in node.keywords)
            or any(isinstance(part, ast.Starred) for part in node.args),
        }
        if name in RECURRENT:
            return Value("layer", name, **fields)
        if name in RECURRENT_CELLS:
            return Value("cell", name, **fields)
        if path.startswith("torch.optim") and "lr_scheduler" not in path:
            return Value("optimizer", name, **fields)
        if name == "DataLoader":
            return Value("loader", name, **fields)
        if path.startswith("torch.nn"):
            return Value("loss" if name.endswith("Loss") else "module", name, parts=tuple(arguments), **fields)
        return None

    def _options(self, node: ast.Call, name: str, words: dict[str | None, Value | None]) -> dict[str, Option]:
        given: list[tuple[str | None, ast.expr]] = list(zip(POSITIONS.get(name, ()), node.args, strict=False))
        given += [(word.arg, word.value) for word in node.keywords]
        options: dict[str, Option] = {}
        for key, expression in given:
            value = words[key] if key in words else self.values.get(expression)
            if key is not None:
                constant = value.constant if value is not None and value.kind == "constant" else None
                options[key] = Option(ast.unparse(expression), constant)
        return options

    def _instance(
        self, node: ast.Call, owner: ast.ClassDef, arguments: list[Value | None], words: dict[str | None, Value | None]
    ) -> Value:
        instance = Value("instance", owner.name, origin=owner)
        method = _method(owner, "__init__")
        if method is not None:
            self._own(method, [instance, *arguments], words, defaults=True)
        return instance

    def _own(
        self,
        function: ast.AST | None,
        arguments: list[Value | None],
        words: dict[str | None, Value | None],
        *,
        defaults: bool = False,
    ) -> Value | None:
        """The result of a function of the program; its arguments are kept for the next round."""
        if not isinstance(function, Function):
            return None
        names = [parameter.arg for parameter in [*function.args.posonlyargs, *function.args.args]]
        given: dict[str, Value | None] = dict(zip(names, arguments, strict=False))
        given |= {name: value for name, value in words.items() if name is not None}
        written = dict(zip(reversed(names), reversed(function.args.defaults), strict=False))
        for name, expression in written.items() if defaults else ():
            if name not in given and isinstance(expression, ast.Constant):
                given[name] = Value("constant", constant=expression.value)
        for name, value in given.items():
            self._arguments.setdefault((function, name), []).append(value)
        return self._results.get(function)

    def _apply(
        self, node: ast.Call, callee: Value, arguments: list[Value | None], words: dict[str | None, Value | None]
    ) -> Value | None:
        if callee.kind == "instance" and isinstance(callee.origin, ast.ClassDef):
            method = _method(callee.origin, "forward") or _method(callee.origin, "__call__")
            return self._own(method, [callee, *arguments], words)
        if callee.kind == "loss":
            return Value("loss_value", callee.name, node, callee.options, layer=callee)
        state = arguments[1] if len(arguments) > 1 else words.get("hx")
        x = arguments[0] if arguments else words.get("input")
        if callee.kind == "layer":
            return tensors.run_layer(callee, x, state, node)
        if callee.kind == "cell":
            return tensors.run_cell(callee, node)
        if callee.name == "Sequential":
            for module in callee.parts:
                x = self._apply(node, module, [x], {}) if module is not None else None
            return x
        result = tensors.run_module(callee, x, node)
        if result is not None and callee.name == "Embedding" and node.args:
            return result.but(of=ast.unparse(node.args[0]))
        return result


def _method(owner: ast.ClassDef, name: str) -> Function | None:
    return next((part for part in owner.body if isinstance(part, Function) and part.name == name), None)
