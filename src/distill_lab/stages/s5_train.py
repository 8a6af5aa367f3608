"""Stage 5: distil the teacher(s) into the student under the regime."""

from __future__ import annotations

from distill_lab.models.reused_classifier import ReusedClassifier
from distill_lab.stages.context import Context
from distill_lab.stages.handoffs import ConnectedLoss, StudentDesign, TeacherChoice, TrainedStudent
from distill_lab.stages.teach import teach


def run(
    context: Context, teacher: TeacherChoice, student: StudentDesign, loss: ConnectedLoss
) -> TrainedStudent:
    """Train the student on the objective; the first weights and batches are the control's too."""
    net = context.first_network(student)
    teachers = [context.trained_network(candidate) for candidate in teacher.kept]
    if isinstance(net, ReusedClassifier):
        net.reuse(teachers[0])
    title = f"student, {'+'.join(term.name for term in loss.terms)}"
    fitted = teach(context, net, teacher, teachers, loss, title)
    return context.trained_student(student, fitted, "student")
