"""What can change a stage's result, as one hash."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = "distill_lab"
FOLDER = Path(__file__).resolve().parent
REUSE_TAG = {"same_code": "fingerprint", "any_code": "fingerprint_any_code"}
"""How much of a finished run has to agree -> the tag of it that has the hash."""


def fingerprint(*parts: Any) -> str:
    """Return the SHA-256 of plain values, independent of the order of keys."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def source_hash(modules: Iterable[str]) -> str:
    """Return one hash of the source of modules and of all they import from this package.

    Comments, docstrings and layout do not count; imports under `if TYPE_CHECKING` are not followed.
    """
    reached: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in reached and _path(module) is not None:
            reached.add(module)
            waiting += _parsed(module)[1]
    return fingerprint([[name, _parsed(name)[0]] for name in sorted(reached)])


def targets(node: Any) -> Iterator[str]:
    """Yield the module of every `_target_` in nested plain values."""
    if isinstance(node, dict):
        if isinstance(node.get("_target_"), str):
            yield node["_target_"].rpartition(".")[0]
        for value in node.values():
            yield from targets(value)


@cache
def _path(module: str) -> Path | None:
    """Return a module's file; not by `find_spec`, which would import its parents."""
    stem = FOLDER.parent / module.replace(".", "/")
    files = (stem.with_suffix(".py"), stem / "__init__.py")
    return next((file for file in files if file.is_file()), None)


@cache
def _parsed(module: str) -> tuple[str, list[str]]:
    """Return the hash of a module's code and the modules of ours that it imports."""
    path = _path(module)
    assert path is not None  # callers have checked
    tree = _Stripped().visit(ast.parse(path.read_text(encoding="utf-8")))
    return fingerprint(ast.dump(tree)), sorted(set(_imports(tree)))


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith(PACKAGE))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE):
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


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
