"""What can change a stage's result, as one hash."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from distill_lab.own_code import module_file

PACKAGE = "distill_lab"
FOLDER = Path(__file__).resolve().parent
REUSE_TAG = {"same_code": "fingerprint", "any_code": "fingerprint_any_code"}
"""How much of a finished run has to agree -> the tag of it that has the hash."""


def fingerprint(*parts: Any) -> str:
    """Return the SHA-256 of plain values, independent of the order of keys."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def source_hash(modules: Iterable[str]) -> str:
    """Return one hash of the source of modules and of all they import of this package or of yours.

    Comments, docstrings and layout do not count; imports under `if TYPE_CHECKING` are not followed.
    """
    reached: dict[str, Path | None] = {}
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in reached:
            path = reached[module] = _path(module)
            waiting += [] if path is None else [*_parsed(module, path)[1], *_parents(module)]
    found = sorted((name, path) for name, path in reached.items() if path is not None)
    return fingerprint([[name, _parsed(name, path)[0]] for name, path in found])


def targets(node: Any) -> Iterator[str]:
    """Yield the module of every `_target_` in nested plain values."""
    if isinstance(node, dict):
        if isinstance(node.get("_target_"), str):
            yield node["_target_"].rpartition(".")[0]
        for value in node.values():
            yield from targets(value)


def _path(module: str) -> Path | None:
    """Return the file of a module of ours or of yours, `own_code.module_file`."""
    return _path_of_ours(module) if _is_ours(module) else module_file(module)


@cache
def _path_of_ours(module: str) -> Path | None:
    """Return a module's file; not by `find_spec`, which would import its parents."""
    stem = FOLDER.parent / module.replace(".", "/")
    files = (stem.with_suffix(".py"), stem / "__init__.py")
    return next((file for file in files if file.is_file()), None)


def _parents(module: str) -> Iterator[str]:
    """Yield the packages that a module of yours lies in, which run before it."""
    parts = [] if _is_ours(module) else module.split(".")
    yield from (".".join(parts[:count]) for count in range(1, len(parts)))


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == PACKAGE


@cache
def _parsed(module: str, path: Path) -> tuple[str, list[str]]:
    """Return the hash of a module's code and the modules that it imports."""
    tree = _Stripped().visit(ast.parse(path.read_text(encoding="utf-8")))
    return fingerprint(ast.dump(tree)), sorted(set(_imports(tree, module, path)))


def _imports(tree: ast.AST, module: str, path: Path) -> Iterator[str]:
    place = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = place[: len(place) - node.level + 1] if node.level else []
            source = ".".join([*above, *filter(None, [node.module])])
            yield source
            yield from (f"{source}.{alias.name}" for alias in node.names)


class _Stripped(ast.NodeTransformer):
    """Takes out docstrings and blocks that only a type checker reads."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if text else node

    def visit_If(self, node: ast.If) -> ast.AST | None:
        if ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            if not node.orelse:
                return None
            node.body = [ast.Pass()]
        return self.generic_visit(node)
