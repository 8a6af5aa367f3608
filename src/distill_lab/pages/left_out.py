"""Classes that the student was not trained on: what it says of them all the same."""

from __future__ import annotations

from distill_lab.report.html import Section
from distill_lab.stages.report_handoff import Report


def left_out_classes(report: Report) -> list[Section]:
    """Return the errors with a bias and without; nothing where all classes were trained on."""
    found = report.left_out
    if found is None:
        return []
    names = ", ".join(report.data.left_out)
    rows = {
        "none": found.plain,
        "fewest errors on validation": found.chosen,
        "fewest errors on test, a bound": found.test_tuned,
    }
    table = [
        {
            "bias": how,
            "added to their logits": biased.bias,
            "errors": biased.errors,
            f"on the {found.num_samples:,} of {names}": biased.errors_on,
        }
        for how, biased in rows.items()
    ]
    text = f"The student was not trained on {names}. What it says of them, with a bias and without:"
    return [Section("Classes that were left out", text=(text,), tables=(table,))]
