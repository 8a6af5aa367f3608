"""The ranges that a constructor checks, checked without importing its class.

Like a signature, they are read from the source: importing a network or a loss imports torch. A
check is a statement of `__init__` that calls a function or raises, and looks at arguments alone;
one that needs more is left to the making of the part.
"""

from __future__ import annotations

import ast
from types import SimpleNamespace
from typing import Any

from distill_lab.config.signature import Definition, base_of, definitions, parsed

LIGHT = ("math", "distill_lab.models.checks", "distill_lab.compress.ranges")
"""Modules whose functions a check may call, besides those of its own file."""


def check(target: str, args: dict[str, Any]) -> None:
    """Check arguments as the constructor would.

    Args:
        target: dotted path of a class or function.
        args: its arguments, of the right types; a check of one that is left out is left out.

    Raises:
        ValueError: "name: must be ..." for the first that is out of range.
    """
    module, _, name = target.rpartition(".")
    tree = parsed(module)
    _check(definitions(tree)[name], tree, args)


def _check(node: Definition, tree: ast.Module, args: dict[str, Any]) -> None:
    init = _init_of(node)
    if init is None:
        _super(node, tree)().__init__(**args)
        return
    names = {**_names(tree), **args, "super": _super(node, tree)}
    for statement in filter(_is_check, init.body):
        _run(statement, names)


def _super(node: Definition, tree: ast.Module) -> Any:
    """Return what stands for `super` in a check: its `__init__` checks what it is handed."""
    base = base_of(node, tree)

    def init(*given: Any, **named: Any) -> None:
        if base is not None:
            base_init = _init_of(base[0])
            order = [arg.arg for arg in base_init.args.args[1:]] if base_init else []
            _check(*base, {**dict(zip(order, given, strict=False)), **named})

    return lambda: SimpleNamespace(__init__=init)


def _init_of(node: Definition) -> ast.FunctionDef | None:
    made = [item for item in node.body if isinstance(item, ast.FunctionDef)]
    return next((item for item in made if item.name == "__init__"), None)


def _is_check(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.If):
        return all(isinstance(item, ast.Raise) for item in statement.body)
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)


def _run(statement: ast.stmt, names: dict[str, Any]) -> None:
    """Run a statement, unless it speaks of anything that is not at hand."""
    code = compile(ast.Module([statement], []), "<check>", "exec")
    try:
        exec(code, names)
    except NameError:
        return


def _names(tree: ast.Module) -> dict[str, Any]:
    """Return what a file offers its checks: its constants, its functions and what is light."""
    names: dict[str, Any] = {}
    for item in tree.body:
        is_light = isinstance(item, ast.ImportFrom) and item.module in LIGHT
        is_light |= isinstance(item, ast.Import) and all(a.name in LIGHT for a in item.names)
        if is_light or isinstance(item, ast.Assign | ast.FunctionDef):
            _run(item, names)
    return names
