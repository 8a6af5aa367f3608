"""Code of your own: modules that lie in the working directory."""

from __future__ import annotations

import sys
from pathlib import Path


def module_file(module: str) -> Path | None:
    """Return the file of a module in the working directory; None where there is none.

    It is found by its path, so nothing is imported, not even the packages that it lies in.
    """
    parts = module.split(".")
    if not all(part.isidentifier() for part in parts):
        return None
    stem = Path.cwd().joinpath(*parts)
    files = (stem.with_suffix(".py"), stem / "__init__.py")
    return next((file for file in files if file.is_file()), None)


def make_importable() -> None:
    """Let modules of the working directory be imported, after all that is installed."""
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)
