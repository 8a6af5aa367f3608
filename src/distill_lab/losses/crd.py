"""Contrastive representation distillation: a sample's embeddings against a memory of others."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill_lab.contracts import DistillBatch, Shapes
from distill_lab.losses.labels import class_indices
from distill_lab.losses.pairs import PairLoss, pooled
from distill_lab.losses.precision import wide
from distill_lab.losses.regressor import Regressor, one_each
from distill_lab.losses.unit import unit_vectors


def crd(positive_scores: Tensor, negative_scores: Tensor, num_samples: int) -> Tensor:
    """Noise-contrastive loss of telling a sample's own partner from K that are drawn.

    With P = exp(score), a partner is held for the own one with h = P / (P + K/N); the value is
    -log h of the own partner minus the sum of log(1 - h) of the others.

    Source: Tian, Krishnan, Isola 2020, arXiv:1910.10699, section 3; RepDistiller's crd.
    Written with log-probabilities, so that no small constant has to be added.

    Args:
        positive_scores: (B,) log P of own partners, any float dtype; computed in float32.
        negative_scores: (B, K) log P of drawn partners.
        num_samples: N that are drawn from, >= 1.

    Returns:
        Scalar in nats, mean over B.

    Raises:
        ValueError: the shapes do not go together, or there is no negative.
    """
    fits = positive_scores.ndim == 1 and negative_scores.ndim == 2 and negative_scores.shape[1] > 0
    if not fits or len(positive_scores) != len(negative_scores):
        raise ValueError(
            f"crd: positive scores are {tuple(positive_scores.shape)}, negative scores "
            f"{tuple(negative_scores.shape)}; they must be (B,) and (B, K) with K >= 1."
        )
    log_noise = math.log(negative_scores.shape[1] / num_samples)
    own = F.softplus(log_noise - wide(positive_scores))
    others = F.softplus(wide(negative_scores) - log_noise).sum(dim=1)
    return (own + others).mean()


class Contrast(nn.Module):
    """Embeddings and memory of one pair of layers.

    Args:
        widths: of the student's and of the teacher's vectors.
        num_samples: N.
        dimension: D of the embeddings.
        temperature: scores are divided by.
        momentum: share of the old entry in a new one of the memory.
    """

    student_bank: Tensor
    teacher_bank: Tensor
    log_normalisers: Tensor

    def __init__(
        self,
        widths: tuple[int, int],
        num_samples: int,
        dimension: int,
        temperature: float,
        momentum: float,
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.momentum = momentum
        self.student_embedding = Regressor((1, widths[0]), (1, dimension))
        self.teacher_embedding = Regressor((1, widths[1]), (1, dimension))
        bound = 1 / math.sqrt(dimension / 3)
        for side in ("student", "teacher"):
            bank = torch.empty(num_samples, dimension).uniform_(-bound, bound)
            self.register_buffer(f"{side}_bank", bank)
        # log Z of both directions, fixed by the first batch that is learnt from.
        self.register_buffer("log_normalisers", torch.full((2,), math.nan))

    def forward(
        self, student: Tensor, teacher: Tensor, index: Tensor, negatives: Tensor, learn: bool
    ) -> Tensor:
        """Return the value of both directions for vectors (B, D); if asked to, learn them after."""
        student = unit_vectors(self.student_embedding(student))
        teacher = unit_vectors(self.teacher_embedding(teacher))
        rows = torch.cat([index[:, None], negatives], dim=1)
        sides = (student, self.teacher_bank), (teacher, self.student_bank)
        # Every product, then those of the rows: a gather of vectors takes K D numbers a sample.
        scores = [(anchor @ bank.T).gather(1, rows) / self.temperature for anchor, bank in sides]
        sums = torch.stack([score.detach().flatten().logsumexp(dim=0) for score in scores])
        fresh = sums + math.log(len(self.student_bank) / rows.numel())
        normalisers = torch.where(self.log_normalisers.isnan(), fresh, self.log_normalisers)
        if learn:
            self.log_normalisers = normalisers
            self.student_bank = self._moved(self.student_bank, index, student.detach())
            self.teacher_bank = self._moved(self.teacher_bank, index, teacher.detach())
        log_ps = [score - normaliser for score, normaliser in zip(scores, normalisers, strict=True)]
        values = [crd(log_p[:, 0], log_p[:, 1:], len(self.student_bank)) for log_p in log_ps]
        return torch.stack(values).sum()

    def _moved(self, bank: Tensor, index: Tensor, embedding: Tensor) -> Tensor:
        """Return a copy with new entries: the gradient of this step still reads the old ones."""
        entries = self.momentum * bank[index] + (1 - self.momentum) * embedding
        return bank.index_copy(0, index, unit_vectors(entries))


class CRD(PairLoss):
    """`crd` of pooled features, in both directions: sum over pairs, mean over teachers.

    Negatives are samples of other classes, drawn uniformly and with replacement; published code
    draws without it where it can. The class of a sample is known once the sample was in a batch
    (mixed labels: the likeliest class); before that it may be anyone's negative. Draws follow a
    seed in the state, taken from torch's when connected; memory, classes, seed and Z are buffers,
    so that a resumed training goes on with the same numbers. They change in training only, and
    only where the student has a gradient.

    Memory: 8 N D bytes for each pair and teacher (51 MB at N = 50,000, D = 128) and 8 N for
    classes; a step adds a copy of the banks and about 16 B N bytes.

    Args:
        weight: of the term, >= 0.
        pairs: see `PairLoss`.
        dimension: D of the embeddings, >= 1.
        num_negatives: K for each sample, >= 1; at most N - 1 are drawn.
        contrast_temperature: cosines are divided by, > 0.
        momentum: share of the old entry in a new one of the memory, 0 to below 1.
    """

    zero_at_match: ClassVar[bool] = False
    order_matters: ClassVar[bool] = True
    mixes_axes: ClassVar[bool] = True
    reads_labels: ClassVar[bool] = True
    choice: ClassVar[Literal["all", "middle", "last"]] = "last"
    labels: Tensor
    seed: Tensor

    def __init__(
        self,
        weight: float,
        pairs: list[list[str]] | Literal["auto"],
        dimension: int,
        num_negatives: int,
        contrast_temperature: float,
        momentum: float,
    ) -> None:
        super().__init__(weight, pairs)
        for name, value in (("dimension", dimension), ("num_negatives", num_negatives)):
            if value < 1:
                raise ValueError(f"{name}: must be >= 1, got {value}.")
        if not contrast_temperature > 0:
            raise ValueError(f"contrast_temperature: must be > 0, got {contrast_temperature}.")
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum: must be in [0, 1), got {momentum}.")
        self.dimension = dimension
        self.num_negatives = num_negatives
        self.contrast_temperature = contrast_temperature
        self.momentum = momentum

    def connect(
        self, student_shapes: Shapes, teacher_shapes: tuple[Shapes, ...], num_samples: int
    ) -> None:
        """Build embeddings and the memory of all training samples."""
        self.check_shapes(student_shapes, teacher_shapes)
        if num_samples < 2:
            raise ValueError(f"crd: needs 2 samples or more to contrast, got {num_samples}.")

        def contrasts(teacher: int) -> nn.ModuleList:
            ends = [(student_shapes[a], teacher_shapes[teacher][b]) for a, b in self.pairs]
            return nn.ModuleList(
                Contrast(
                    (_width(a), _width(b)),
                    num_samples,
                    self.dimension,
                    self.contrast_temperature,
                    self.momentum,
                )
                for a, b in ends
            )

        self.contrasts = one_each(len(teacher_shapes), contrasts)
        self.register_buffer("labels", torch.full((num_samples,), -1))  # -1: not seen yet
        self.register_buffer("seed", torch.randint(2**62, ()))

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted value, and remember the batch's embeddings and classes."""
        self._check_index(batch.index)
        classes = class_indices(batch.targets)
        labels = self.labels.index_copy(0, batch.index, classes)
        negatives = self._negatives(labels, classes, batch.index)
        learn = self.training and any(a.requires_grad for a, _ in self.features(batch))
        values = [
            contrast(pooled(student), pooled(teacher), batch.index, negatives, learn)
            for number, contrasts in enumerate(self.contrasts)
            for contrast, (student, teacher) in zip(
                contrasts.children(), self.features(batch, number), strict=True
            )
        ]
        if learn:
            self.labels, self.seed = labels, self.seed + 1
        return torch.stack(values).sum() / len(batch.teachers)

    def _check_index(self, index: Tensor) -> None:
        size = len(self.labels)
        if index.is_cpu and not bool(((index >= 0) & (index < size)).all()):  # a GPU would wait
            raise ValueError(
                f"crd: index must be in [0, {size}), the training samples it was connected to, "
                f"got {index.tolist()}."
            )

    def _negatives(self, labels: Tensor, classes: Tensor, index: Tensor) -> Tensor:
        """Draw (B, K) samples of other classes: places in the order of classes, own ones cut out.

        Where all samples are of one class, they are any but the sample itself.
        """
        generator = torch.Generator(labels.device).manual_seed(int(self.seed))
        ranked, order = labels.sort()
        first = torch.searchsorted(ranked, classes)[:, None]
        own = torch.searchsorted(ranked, classes, right=True)[:, None] - first
        size = (len(classes), min(self.num_negatives, len(labels) - 1))
        drawn = torch.randint(2**62, size, generator=generator, device=labels.device)
        place = drawn % (len(labels) - own).clamp(min=1)
        place = place + own * (place >= first)
        another = (index[:, None] + 1 + drawn % (len(labels) - 1)) % len(labels)
        alone = own == len(labels)
        return torch.where(alone, another, order[place.clamp(max=len(labels) - 1)])


def _width(shape: tuple[int, ...]) -> int:
    return shape[1] if len(shape) == 4 else shape[-1]
