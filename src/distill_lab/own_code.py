"""Code of your own: modules that lie in the working directory."""

from __future__ import annotations

import sys
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path


def module_file(module: str) -> Path | None:
    """Return the file of a module in the working directory; None where there is none.

    It is found by its path, so nothing is imported, not even the packages that it lies in. What has
    the name of an installed module is none of yours, as that one would be imported.
    """
    parts = module.split(".")
    if not all(part.isidentifier() for part in parts):
        return None
    folder = Path.cwd()
    stem = folder.joinpath(*parts)
    files = (stem.with_suffix(".py"), stem / "__init__.py")
    found = next((file for file in files if file.is_file()), None)
    return None if found is None or _is_installed(parts[0], str(folder)) else found


def make_importable() -> None:
    """Let modules of the working directory be imported, after all that is installed."""
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)


@cache
def _is_installed(name: str, folder: str) -> bool:
    """Tell whether a name is that of a module elsewhere than in the folder."""
    if name in sys.builtin_module_names:
        return True
    elsewhere = [path for path in sys.path if path not in ("", folder)]
    return PathFinder.find_spec(name, elsewhere) is not None
