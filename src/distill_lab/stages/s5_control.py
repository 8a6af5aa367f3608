"""Stage 5, the control: the same student under the same regime without a teacher."""

from __future__ import annotations

from distill_lab.stages.context import Context
from distill_lab.stages.handoffs import StudentDesign, TrainedStudent
from distill_lab.training.supervised import Supervised


def run(context: Context, student: StudentDesign) -> TrainedStudent:
    """Train the student on labels; what distillation brings is measured against it."""
    parts, net = context.parts, context.first_network(student)
    regime = parts.regime.on_labels(len(context.seen))
    trainee = Supervised(net, regime, context.info.num_classes, parts.seed)
    fitted = context.fit(trainee, parts.seed, "control, same student without a teacher")
    return context.trained_student(student, fitted, "control")
