"""Stage 5, the control: the same student under the same regime without a teacher."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

from distill_lab.data.subset import subset
from distill_lab.settings import Regime
from distill_lab.stages.context import Context
from distill_lab.stages.handoffs import StudentDesign, TrainedStudent
from distill_lab.training.supervised import Supervised


def run(context: Context, student: StudentDesign) -> TrainedStudent:
    """Train the student on labels; what distillation brings is measured against it."""
    parts, targets = context.parts, context.splits.train.targets
    seen = subset(targets, parts.regime.leave_out_classes, parts.regime.num_samples, parts.seed)
    net = context.first_network(student)
    regime = on_labels(parts.regime, len(seen))
    trainee = Supervised(net, regime, context.info.num_classes, parts.seed)
    fitted = context.fit(trainee, parts.seed, "control, same student without a teacher")
    return context.trained_student(student, fitted, "control")


def on_labels(regime: Regime, num_samples: int) -> Regime:
    """Return the regime on samples with a label alone, of at least as many steps.

    Args:
        regime: of the student, see `Regime.num_labels`.
        num_samples: that the student is trained on.
    """
    labels = regime.num_labels
    if labels is None:
        return regime
    epochs = ceil(regime.epochs * num_samples / labels)
    return replace(regime, num_samples=labels, num_labels=None, epochs=epochs)
