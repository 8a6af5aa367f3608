"""The signature is the schema: what a `_target_` takes, read from its source without importing it.

Importing a loss imports torch, which takes seconds; a config error has to be answered at once. So
the source file is parsed instead.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from distill_lab.errors import nearest
from distill_lab.own_code import module_file

Definition = ast.ClassDef | ast.FunctionDef
OURS = "distill_lab."
KNOWN_NAMES = {"Any": Any, "Literal": Literal}


@dataclass(frozen=True)
class Parameter:
    """One argument: its type (Any where it is not a plain one) and whether it must be given."""

    kind: Any
    required: bool


@cache
def signature_of(target: str) -> dict[str, Parameter]:
    """Return the arguments of a public class or function by name.

    Raises:
        ValueError: there is no such module, no such name in it, or the class is abstract; names the
            nearest.
    """
    module, _, name = target.rpartition(".")
    tree = parsed(module)
    found = {key: node for key, node in definitions(tree).items() if not key.startswith("_")}
    if name not in found:
        raise ValueError(f"{module} has no {name!r}.{nearest(name, found)}")
    if "ABC" in _bases(found[name]):
        others = [other for other in found if other != name]
        raise ValueError(f"{name} is abstract, it cannot be made.{nearest(name, others)}")
    return _of(found[name], tree)


def has_method(target: str, method: str) -> bool:
    """Tell whether a name is of a class that defines or inherits a method.

    Raises:
        ValueError: there is no such module.
    """
    module, _, name = target.rpartition(".")
    tree = parsed(module)
    found: tuple[Definition, ast.Module] | None = None
    if name in definitions(tree):
        found = definitions(tree)[name], tree
    while found is not None and isinstance(found[0], ast.ClassDef):
        if any(isinstance(x, ast.FunctionDef) and x.name == method for x in found[0].body):
            return True
        found = base_of(*found)
    return False


def conforms(value: Any, kind: Any) -> bool:
    """Tell whether a plain value fits a type; an int fits float, a bool fits neither.

    Numbers must be finite and integers fit 64 bits: torch takes no others.

    >>> conforms(3, float), conforms(True, int), conforms([1, "x"], list[int])
    (True, False, False)
    >>> conforms(None, int | None), conforms(float("inf"), float), conforms(2**63, int)
    (True, False, False)
    """
    origin, args = get_origin(kind), get_args(kind)
    if kind is Any:
        return True
    if origin in (Union, UnionType):
        return any(conforms(value, arg) for arg in args)
    if origin is Literal:
        return any(value == arg and type(value) is type(arg) for arg in args)
    if origin is list:
        return isinstance(value, list) and all(conforms(item, args[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict)
    if kind is type(None) or kind is None:
        return value is None
    if kind is float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and abs(value) <= sys.float_info.max
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
    return isinstance(value, kind) if isinstance(kind, type) else True


def describe(kind: Any) -> str:
    """Return a type in words, for an error.

    >>> describe(list[int]), describe(float | None), describe(Literal["a", "b"])
    ('a list of int', 'float or null', "one of 'a', 'b'")
    """
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return " or ".join(describe(arg) for arg in args)
    if origin is Literal:
        return "one of " * (len(args) > 1) + ", ".join(repr(arg) for arg in args)
    if origin is list:
        return f"a list of {describe(args[0]).removeprefix('a ')}"
    if kind is type(None) or kind is None:
        return "null"
    if kind is dict or origin is dict:
        return "a group of keys"
    return getattr(kind, "__name__", str(kind))


@cache
def parsed(module: str) -> ast.Module:
    """Return the syntax tree of a module that is not imported.

    Raises:
        ValueError: there is no such module; names the nearest.
    """
    own = None if module.startswith(OURS) else module_file(module)
    if own is not None:
        try:
            return ast.parse(own.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError) as error:
            raise ValueError(f"{own} cannot be read: {error}.") from error
    parent, _, _ = module.rpartition(".")
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None:
        raise ValueError(f"there is no module {module!r}.{nearest(module, _siblings(parent))}")
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


def definitions(tree: ast.Module) -> dict[str, Definition]:
    """Return the classes and functions of a module by name."""
    return {node.name: node for node in tree.body if isinstance(node, Definition)}


def base_of(node: Definition, tree: ast.Module) -> tuple[Definition, ast.Module] | None:
    """Return the first base class that is ours or yours: of this file or imported; and its file."""
    for base in _bases(node):
        if base in definitions(tree):
            return definitions(tree)[base], tree
        for item in tree.body:
            if isinstance(item, ast.ImportFrom) and base in [alias.name for alias in item.names]:
                module = str(item.module)
                ours = module.startswith(OURS) or module_file(module) is not None
                other = parsed(module) if ours else ast.Module([], [])
                if base in definitions(other):
                    return definitions(other)[base], other
    return None


def _siblings(package: str) -> list[str]:
    try:
        spec = importlib.util.find_spec(package)
    except (ModuleNotFoundError, ValueError):
        return []
    folders = list(spec.submodule_search_locations or []) if spec else []
    return [f"{package}.{path.stem}" for folder in folders for path in Path(folder).glob("*.py")]


def _bases(node: Definition) -> list[str]:
    return list(map(ast.unparse, node.bases)) if isinstance(node, ast.ClassDef) else []


def _of(node: Definition, tree: ast.Module) -> dict[str, Parameter]:
    """Return the arguments of a definition in a module: its own, or those it inherits."""
    classes = [key for key, other in definitions(tree).items() if isinstance(other, ast.ClassDef)]
    names = {**KNOWN_NAMES, **dict.fromkeys(classes, dict)}
    if isinstance(node, ast.FunctionDef):
        return _of_function(node, names)
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return _of_function(item, names)
    if node.decorator_list:  # a dataclass
        fields = [item for item in node.body if isinstance(item, ast.AnnAssign)]
        return {
            ast.unparse(item.target): Parameter(_kind(item.annotation, names), item.value is None)
            for item in fields
        }
    base = base_of(node, tree)
    return _of(*base) if base else {}


def _of_function(node: ast.FunctionDef, names: dict[str, Any]) -> dict[str, Parameter]:
    given = node.args
    positional = [arg for arg in given.args if arg.arg != "self"]
    no_default = len(positional) - len(given.defaults)
    result = {
        a.arg: Parameter(_kind(a.annotation, names), i < no_default)
        for i, a in enumerate(positional)
    }
    for arg, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        result[arg.arg] = Parameter(_kind(arg.annotation, names), default is None)
    return result


def _kind(annotation: ast.expr | None, names: dict[str, Any]) -> Any:
    """Evaluate an annotation; a class of the same file is a group of keys, the unknown is Any."""
    if annotation is None:
        return Any
    try:
        return eval(ast.unparse(annotation), dict(names))
    except (NameError, AttributeError, TypeError):
        return Any
