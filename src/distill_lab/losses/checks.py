"""What the functions of several losses require of their tensors."""

from __future__ import annotations

from torch import Tensor

from distill_lab.contracts import Shapes


def require_same_classes(name: str, student_logits: Tensor, teacher_logits: Tensor) -> None:
    """Refuse logits of unequal shapes.

    Args:
        name: of the loss.
        student_logits: (B, K).
        teacher_logits: (B, K).

    Raises:
        ValueError: the shapes differ; names both.
    """
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(
            f"{name}: student logits are {tuple(student_logits.shape)}, teacher logits "
            f"{tuple(teacher_logits.shape)}; both must be (B, K) over the same K classes."
        )


def require_maps(name: str, student: Tensor, teacher: Tensor, equal_widths: bool) -> None:
    """Refuse features that are no maps of the same samples.

    Args:
        name: of the loss.
        student: (B, C, H, W).
        teacher: (B, C', H', W').
        equal_widths: whether C' has to be C.

    Raises:
        ValueError: they are not; names both shapes.
    """
    common = 2 if equal_widths else 1
    if student.ndim == teacher.ndim == 4 and student.shape[:common] == teacher.shape[:common]:
        return
    advice = (
        " with the same channels. Choose layers of equal width, or give the student a regressor."
        if equal_widths
        else "."
    )
    raise ValueError(
        f"{name}: student is {tuple(student.shape)}, teacher {tuple(teacher.shape)}; both must be "
        f"maps (B, C, H, W) of the same B samples{advice}"
    )


def require_equal_lengths(
    pairs: list[tuple[str, str]], student_shapes: Shapes, teacher_shapes: tuple[Shapes, ...]
) -> None:
    """Refuse pairs whose sequences differ in length; L is the last axis but one of every feature.

    Raises:
        ValueError: they do; names taps and lengths.
    """
    for shapes in teacher_shapes:
        for a, b in pairs:
            length, other = student_shapes[a][-2], shapes[b][-2]
            if length != other:
                raise ValueError(
                    f"pairs: student {a!r} has {length} tokens, teacher {b!r} has {other}; both "
                    "must have as many. Choose equal patch sizes, and a distillation token in "
                    "both networks or in none."
                )
