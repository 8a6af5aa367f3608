"""Which step of compression can follow which."""

from __future__ import annotations

from collections.abc import Mapping

from distill_lab.compress.base import Kind, Step

WORDS: dict[Kind, str] = {
    "float": "plain float weights",
    "grid": "float weights that await int8",
    "int8": "int8 weights",
    "graph": "an exported graph",
}


def check_order(chain: Mapping[str, Step]) -> None:
    """Make sure that each step can take what the one before it makes, and that none is half done.

    Args:
        chain: name -> step, in order.

    Raises:
        ValueError: a step cannot follow the one before it, or lacks one after it.
    """
    kind: Kind = "float"
    before = ""
    for name, step in chain.items():
        if kind not in step.takes:
            taken = " or ".join(WORDS[one] for one in step.takes)
            raise ValueError(
                f"{name} cannot follow {before}, which leaves {WORDS[kind]}: it takes {taken}. "
                f"Put {name} before {before}, or leave one of them out."
            )
        kind, before = step.gives, name
    if kind == "grid":
        raise ValueError(
            f"{before} leaves {WORDS[kind]}, and nothing makes them int8. "
            f"Put quantize_onnx after {before}."
        )
