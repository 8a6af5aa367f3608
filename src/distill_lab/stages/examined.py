"""What stage 6 finds out beside the table: how closely the student follows, and how far it holds.

Plain values, part of the hand-off, so that a report can be made of them alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from distill_lab.measure.classes import ClassChange
from distill_lab.measure.fidelity import Agreement, Fidelity
from distill_lab.measure.intervals import Interval
from distill_lab.measure.paired import Discordant
from distill_lab.measure.selective import Selective


@dataclass(frozen=True)
class SplitFidelity:
    """To the teacher, on one split.

    Attributes:
        split: train (samples that the student was trained on), validation or test.
        num_samples: that were asked.
        student: of the distilled student.
        control: of the student without a teacher, which has never seen it.
    """

    split: str
    num_samples: int
    student: Fidelity
    control: Fidelity


@dataclass(frozen=True)
class LayerSimilarity:
    """Linear CKA between the layers of a student and of its teacher.

    Attributes:
        network: name of the row of the student.
        layers: its taps.
        teacher_layers: the teacher's.
        cka: (layers, teacher_layers), in [0, 1].
    """

    network: str
    layers: list[str]
    teacher_layers: list[str]
    cka: list[list[float]]


@dataclass(frozen=True)
class Memorised:
    """What a network says of training samples whose label was replaced by another class.

    Attributes:
        network: name of its row.
        num_samples: with such a label, that were asked.
        given: samples on which it says the wrong label that it was given.
        true: samples on which it says the class that was there before.
    """

    network: str
    num_samples: int
    given: int
    true: int


@dataclass(frozen=True)
class Faithfulness:
    """How closely the student follows its teacher.

    Attributes:
        by_split: train, validation, test.
        pairs: agreement on test of student and teacher, student and control, control and teacher.
        closer: samples on which only the student, or only the control, says on test what the
            teacher says.
        excess: where the student's agreement with the teacher beyond that of independent networks
            of their accuracies, minus the control's, lies.
        layers: of the student and of the control.
        num_layer_samples: of the test split, that the layers are compared on.
        memorised: of student and control; empty where no label was replaced.
    """

    by_split: list[SplitFidelity]
    pairs: list[Agreement]
    closer: Discordant
    excess: Interval
    layers: list[LayerSimilarity]
    num_layer_samples: int
    memorised: list[Memorised]

    def on(self, split: str) -> SplitFidelity:
        """Return what was found on one split."""
        return next(one for one in self.by_split if one.split == split)

    def between(self, first: str, second: str) -> Agreement:
        """Return what was found of two networks, named in the order of `pairs`."""
        return next(one for one in self.pairs if (one.first, one.second) == (first, second))


@dataclass(frozen=True)
class Certainty:
    """One network on the test split: how sure of its quality one can be, and how sure it is.

    Attributes:
        network: name of its row.
        quality: where its accuracy (NDCG@10 where items are ranked) lies.
        adaptive_ece: over bins of equal mass.
        selective: accuracy of what it is most sure of.
    """

    network: str
    quality: Interval
    adaptive_ece: float
    selective: Selective


@dataclass(frozen=True)
class PairedTest:
    """McNemar's test of two networks on the test split.

    Attributes:
        first: name of the row of one.
        second: of the other.
        found: samples that only one of them has right.
    """

    first: str
    second: str
    found: Discordant


@dataclass(frozen=True)
class Curve:
    """Quality of one network under one corruption.

    Attributes:
        network: name of its row.
        corruption: name.
        quality: accuracy (NDCG@10 where items are ranked) at severity 0, 1, ..., 5.
    """

    network: str
    corruption: str
    quality: list[float]

    @property
    def mean(self) -> float:
        """Over the severities from 1 on."""
        return sum(self.quality[1:]) / len(self.quality[1:])


@dataclass(frozen=True)
class Robustness:
    """How far what the table says holds.

    Attributes:
        certainties: of teacher, control and student.
        gain: where the student's quality minus the control's lies.
        kept: where the student's quality over the teacher's lies.
        tests: of student against control, and of student against teacher.
        num_resamples: of the intervals.
        classes: those that changed most from teacher to student; classes.csv has all.
        num_lost: classes with fewer right samples than the teacher has, of all.
        num_won: with more.
        curves: corruption by corruption, of teacher, control and student each.
        num_corrupted: samples of the test split that were corrupted.
        not_corrupted: why there are no curves; "" where there are some.
    """

    certainties: list[Certainty]
    gain: Interval
    kept: Interval
    tests: list[PairedTest]
    num_resamples: int
    classes: list[ClassChange]
    num_lost: int
    num_won: int
    curves: list[Curve]
    num_corrupted: int
    not_corrupted: str

    def of(self, network: str) -> Certainty:
        """Return what was found of a network by the name of its row."""
        return next(one for one in self.certainties if one.network == network)

    def against(self, network: str) -> Discordant:
        """Return the test of the student, which is the first, against another network."""
        return next(one.found for one in self.tests if one.second == network)

    def corrupted(self, network: str) -> float | None:
        """Return the mean quality over all corruptions and severities; None where there are none.

        The mean of means is that of ImageNet-C, which divides by a reference network's beside.
        """
        means = [curve.mean for curve in self.curves if curve.network == network]
        return sum(means) / len(means) if means else None
