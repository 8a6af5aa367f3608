"""All values of one part that are out of range, though its constructor stops at the first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from distill_lab.config.groups import ready


def out_of_range(
    path: str, target: str, args: dict[str, Any], make: Callable[[dict[str, Any]], Any]
) -> Iterator[str]:
    """Make a part again and again, each time with the wrong value mended, and say what was wrong.

    A value is mended by the one that a ready option has for it.

    Args:
        path: dotted path of the part.
        target: its `_target_`.
        args: its arguments, of the right types.
        make: makes it of arguments; raises ValueError "name: must be ..." for one out of range.
    """
    sound, tried, mended = ready(target), dict(args), set()
    while True:
        try:
            make(tried)
            return
        except ValueError as error:
            key = str(error).partition(":")[0]
            if key in mended:
                return
            yield f"{path}.{error}"
            if key not in sound or key not in args:
                return
            mended.add(key)
            tried[key] = sound[key]
