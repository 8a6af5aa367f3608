"""Which teacher layer each student layer should learn from."""

from __future__ import annotations

from torch import Tensor


def propose_pairs(
    cka: Tensor, student_taps: list[str], teacher_taps: list[str]
) -> list[tuple[str, str, float]]:
    """Pair every student tap with a teacher tap, never going back in depth.

    Among all assignments in which a deeper student tap has a deeper teacher tap, the one with the
    largest sum of CKA; of equal ones that with the shallower teacher taps. Student taps share a
    teacher tap only where there are more of them than of the teacher's: otherwise a student that
    has hardly learnt, whose layers are all like its input, would have them all paired with the
    teacher's first.

    Args:
        cka: (number of student taps, number of teacher taps).
        student_taps: in order of depth.
        teacher_taps: in order of depth.

    Returns:
        (student tap, teacher tap, their CKA), one for each student tap.

    Raises:
        ValueError: the matrix does not fit the names.
    """
    if tuple(cka.shape) != (len(student_taps), len(teacher_taps)) or not cka.numel():
        raise ValueError(
            f"cka: must be (student taps, teacher taps) = ({len(student_taps)}, "
            f"{len(teacher_taps)}) and not empty, got {tuple(cka.shape)}."
        )
    values = cka.tolist()
    spare = len(teacher_taps) - len(student_taps)
    if spare < 0:
        columns = _monotone_assignment(values)
    else:  # column n + m of row n is the m-th that leaves one for each row before and after
        windows = [row[n : n + spare + 1] for n, row in enumerate(values)]
        columns = [n + m for n, m in enumerate(_monotone_assignment(windows))]
    return [
        (name, teacher_taps[column], row[column])
        for name, row, column in zip(student_taps, values, columns, strict=True)
    ]


def _monotone_assignment(values: list[list[float]]) -> list[int]:
    """Return one column per row, not decreasing, with the largest sum of values.

    `best[j]` is the largest sum of the rows so far with the last of them in a column <= j.
    """
    num_columns = len(values[0])
    best = [0.0] * num_columns
    paths: list[list[int]] = [[] for _ in range(num_columns)]
    for row in values:
        sums = [total + value for total, value in zip(best, row, strict=True)]
        ends = [0]
        for column in range(1, num_columns):
            ends.append(column if sums[column] > sums[ends[-1]] else ends[-1])
        best = [sums[end] for end in ends]
        paths = [[*paths[end], end] for end in ends]
    return paths[-1]
