"""What users read: short run names that say what varies, and where to look."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from distill_lab.errors import without_secret

GENERIC = ("value", "weight", "rounds", "max_minutes", "latency_repeats", "num_samples")
"""Last keys that say nothing without the one before them."""
SLOTS = ("teacher", "student", "selection", "cache", "compress", "variants")
"""Sections that have keys of the same names as others."""
LOOK_HERE = "Look    make ui, or distill-lab ui   (MLflow UI on http://127.0.0.1:5000)"
LOOK_THERE = "Look    the server's own UI"


def look(uri: str, address: str) -> str:
    """Return, for the terminal, where runs are seen; a tracking server shows them itself."""
    return f"{LOOK_THERE if is_server(uri) else LOOK_HERE}\n        {address}"


def is_server(uri: str) -> bool:
    """Tell whether a tracking URI is that of a server."""
    return uri.startswith(("http://", "https://"))


def short_name(overrides: Sequence[str]) -> str:
    """Return a run name made of overrides, but for those that say where it is kept.

    >>> short_name(["temperature.value=4", "architecture@student=mlp_30", "loss=[ce,kd]", "seed=1"])
    'temperature=4 student=mlp_30 loss=ce+kd seed=1'
    >>> short_name(["tracking=server", "tracking.uri=http://host:5001", "seed=1"])
    'seed=1'
    """
    pairs = [split_override(text) for text in overrides]
    named = [pair for pair in pairs if pair[0].partition(".")[0] != "tracking"]
    return " ".join(f"{short_key(key)}={without_secret(short_value(v))}" for key, v in named)


def command(overrides: Sequence[str]) -> str:
    """Return the command line that runs overrides, without secrets.

    >>> command(["seed=1", "loss=[ce,kd]"])
    "distill-lab seed=1 'loss=[ce,kd]'"
    """
    return without_secret(shlex.join(["distill-lab", *overrides]))


def split_override(text: str) -> tuple[str, str]:
    """Return the key, without the signs before it, and the value as it is written.

    >>> split_override("++loss.kd.weight=1"), split_override("name=a=b"), split_override("~seed")
    (('loss.kd.weight', '1'), ('name', 'a=b'), ('seed', ''))
    """
    key, _, value = text.lstrip("+~").partition("=")
    return key, value


def short_key(key: str) -> str:
    """Return the part of a key that tells it from others.

    >>> short_key("loss.kd.weight"), short_key("regime.lr"), short_key("architecture@teacher")
    ('kd.weight', 'lr', 'teacher')
    >>> short_key("student.widths"), short_key("selection.regime.lr")
    ('student.widths', 'selection.regime.lr')
    """
    plain = key.rpartition("@")[2]
    words = plain.split(".")
    if words[0] in SLOTS:
        return plain
    if words[-1] == "value" and len(words) > 1:
        return words[-2]
    return ".".join(words[-2:]) if words[-1] in GENERIC else words[-1]


def short_value(value: str) -> str:
    """Return a value without brackets and quotes; a list is joined by plus signs.

    >>> short_value("[ce,kd]"), short_value("1e-3")
    ('ce+kd', '1e-3')
    """
    plain = value.strip("'\"")
    if plain.startswith("[") and plain.endswith("]"):
        return "+".join(part.strip() for part in plain[1:-1].split(","))
    return plain
