"""Range checks that several steps share."""

from __future__ import annotations


def require_fraction(fraction: float) -> None:
    """Refuse a share that leaves nothing or changes nothing.

    Raises:
        ValueError: it is not in (0, 1).
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction: must be in (0, 1), got {fraction!r}.")


def require_rounds(rounds: int, epochs: int) -> None:
    """Refuse rounds without a training between them, which are one round.

    Raises:
        ValueError: there are several rounds and no epochs, or a number is out of range.
    """
    if rounds < 1:
        raise ValueError(f"rounds: must be >= 1, got {rounds!r}.")
    if epochs < 0:
        raise ValueError(f"epochs: must be >= 0, got {epochs!r}.")
    if rounds > 1 and epochs == 0:
        raise ValueError(f"epochs: must be >= 1 where there are {rounds} rounds, got 0.")


def require_tolerance(tolerance: float) -> None:
    """Refuse a tolerance that nothing meets.

    Raises:
        ValueError: it is not > 0.
    """
    if not tolerance > 0:
        raise ValueError(f"tolerance: must be > 0, got {tolerance!r}.")
