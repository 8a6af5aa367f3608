"""Stage 5, the control: the same student under the same regime without a teacher."""

from __future__ import annotations

from distill_lab.stages.context import Context
from distill_lab.stages.handoffs import StudentDesign, TrainedStudent
from distill_lab.training.fit import fit
from distill_lab.training.supervised import Supervised


def run(context: Context, student: StudentDesign) -> TrainedStudent:
    """Train the student on labels; what distillation brings is measured against it."""
    parts, info = context.parts, context.info
    net = context.new_network(student.architecture, parts.seed)
    fitted = fit(
        Supervised(net, parts.regime, info.num_classes, parts.seed),
        info,
        context.splits,
        parts.regime,
        parts.hardware,
        parts.seed,
        title="control, same student without a teacher",
        log=context.run.log_metrics,
    )
    return context.trained_student(student, fitted, "control")
