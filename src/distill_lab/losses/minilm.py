"""Relations between the tokens' queries, keys or values in a self-attention."""

from __future__ import annotations

import math
from typing import ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_lab.contracts import DistillBatch, Shapes
from distill_lab.losses.checks import require_equal_lengths
from distill_lab.losses.divergence import kl_divergence
from distill_lab.losses.pairs import PairLoss
from distill_lab.losses.precision import full_precision, wide

Part = Literal["query", "key", "value"]
PARTS: tuple[Part, ...] = get_args(Part)
"""In the order in which a tap `:qkv` has them side by side."""


@full_precision()
def minilm(student_vectors: Tensor, teacher_vectors: Tensor, num_relation_heads: int) -> Tensor:
    """KL(teacher || student) of softmax(V V^T / sqrt(d)), the relations between tokens.

    Source: Wang et al. 2020 (MiniLM), arXiv:2002.10957, section 3.2, with the relation heads of
    Wang et al. 2021 (MiniLMv2), arXiv:2012.15828, section 3.1: the width D is split into heads of
    d = D / num_relation_heads channels, whatever the numbers of attention heads are.

    Args:
        student_vectors: (B, L, D), the values (or queries, or keys) of all tokens.
        teacher_vectors: (B, L, D'), treated as a constant; its width is free.
        num_relation_heads: >= 1, divides D and D'.

    Returns:
        Scalar in nats, mean over B, relation heads and tokens; zero iff the relations agree.

    Raises:
        ValueError: the shapes differ in more than the width, or a width cannot be split.
    """
    if student_vectors.shape[:-1] != teacher_vectors.shape[:-1]:
        raise ValueError(
            f"minilm: student vectors are {tuple(student_vectors.shape)}, the teacher's "
            f"{tuple(teacher_vectors.shape)}; both must be (B, L, width) with equal B and L. "
            "Choose networks with as many tokens."
        )
    student = _log_relations(student_vectors, num_relation_heads)
    teacher = _log_relations(teacher_vectors.detach(), num_relation_heads)
    return kl_divergence(student, teacher).mean()


class MiniLM(PairLoss):
    """`minilm` as a term, summed over relations and pairs; with several teachers, the mean of them.

    MiniLM takes [value] with as many relation heads as attention heads, and `attention_kl` beside
    it. MiniLMv2 takes [query, key, value] and nothing beside it.

    Args:
        weight: of the term, >= 0.
        pairs: see `PairLoss`; the taps are `:qkv`.
        relations: among "query", "key" and "value", each with itself.
        num_relation_heads: >= 1, divides the widths of both networks.
    """

    aligns_tokens: ClassVar[bool] = True

    axes: ClassVar[tuple[int, ...]] = (3,)
    suffix: ClassVar[str] = ":qkv"
    choice: ClassVar[Literal["all", "middle", "last"]] = "last"

    def __init__(
        self,
        weight: float,
        pairs: list[list[str]] | Literal["auto"],
        relations: list[Literal["query", "key", "value"]],
        num_relation_heads: int,
    ) -> None:
        super().__init__(weight, pairs)
        if not relations or len(set(relations)) < len(relations) or not set(relations) <= {*PARTS}:
            given = f"must be some of {', '.join(PARTS)}, each once, got {relations}"
            raise ValueError(f"relations: {given}.")
        if num_relation_heads < 1:
            raise ValueError(f"num_relation_heads: must be >= 1, got {num_relation_heads}.")
        self.relations = relations
        self.num_relation_heads = num_relation_heads

    def connect(
        self, student_shapes: Shapes, teacher_shapes: tuple[Shapes, ...], num_samples: int
    ) -> None:
        """Check the pairs, the lengths of their sequences and their widths too."""
        self.check_shapes(student_shapes, teacher_shapes)
        require_equal_lengths(self.pairs, student_shapes, teacher_shapes)
        for a, b in self.pairs:
            for tap, shapes in ((a, student_shapes), *((b, shapes) for shapes in teacher_shapes)):
                if shapes[tap][-1] % len(PARTS):
                    raise ValueError(
                        f"pairs: {tap!r} is {shapes[tap]}, not queries, keys and values side by "
                        f"side. Write {tap.partition(':')[0] + self.suffix!r}."
                    )
                _require_split(shapes[tap][-1] // len(PARTS), self.num_relation_heads)

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted divergence from the teacher(s)."""
        values = []
        for number in range(len(batch.teachers)):
            for pair in self.features(batch, number):
                for part in map(PARTS.index, self.relations):
                    student, teacher = (qkv.chunk(3, dim=-1)[part] for qkv in pair)
                    values.append(minilm(student, teacher, self.num_relation_heads))
        return torch.stack(values).sum() / len(batch.teachers)


def _log_relations(vectors: Tensor, num_relation_heads: int) -> Tensor:
    _require_split(vectors.shape[-1], num_relation_heads)
    heads = (
        wide(vectors).unflatten(-1, (num_relation_heads, -1)).transpose(1, 2)
    )  # (B, heads, L, d)
    scores = heads @ heads.transpose(-1, -2) / math.sqrt(heads.shape[-1])  # (B, heads, L, L)
    return F.log_softmax(scores, dim=-1)


def _require_split(width: int, num_relation_heads: int) -> None:
    if num_relation_heads < 1 or width % num_relation_heads:
        fitting = [n for n in range(1, width + 1) if width % n == 0]
        nearest = min(fitting, key=lambda n: abs(n - num_relation_heads))
        raise ValueError(
            f"num_relation_heads: must divide the width {width} of the attention, "
            f"got {num_relation_heads}. Nearest: {nearest}."
        )
