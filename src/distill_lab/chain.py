"""A chain: several workflows under one run, the student of each being the teacher of the next.

Teacher assistants (Mirzadeh et al. 2020, arXiv:1902.03393) lie between a large teacher and a small
student; born-again networks (Furlanello et al. 2018, arXiv:1805.04770) are taught by themselves.
"""

from __future__ import annotations

from dataclasses import replace

from distill_lab import workflow
from distill_lab.config.check import build
from distill_lab.config.passes import pass_configs
from distill_lab.contracts import Parts
from distill_lab.environment import environment
from distill_lab.report import tables
from distill_lab.run_report import PASSES, log_config, report_of
from distill_lab.stages.report_handoff import CONTROL, DISTILLED, TEACHER
from distill_lab.tracking.store import Store
from distill_lab.workflow import MODEL, Done


def run_chain(
    parts: Parts, store: Store, name: str, tags: dict[str, str], parent_id: str | None = None
) -> Done:
    """Run the passes in order; the numbers of the last are those of the chain.

    Args:
        parts: the checked run.
        store: where runs are kept and found.
        name: of the chain's run.
        tags: further tags of the chain's run.
        parent_id: run of the sweep that the chain belongs to.

    Returns:
        What the last pass left, with the chain's run in place of its own.

    Raises:
        RunError: a stage of a pass failed; later passes are not begun.
    """
    about = {"seed": str(parts.seed), "data": parts.data.info.name, **environment()}
    rows = []
    with store.start(name, {**about, **tags, "kind": "chain"}, parent_id) as run:
        shown = {key: value for key, value in parts.config.items() if key != "tracking"}
        run.log_params({**shown, "choices": parts.choices})
        log_config(run, shown)
        from_run = None
        for number, config in enumerate(pass_configs(parts.config), 1):
            if from_run is not None:
                config["selection"] = {**config["selection"], "from_run": from_run, "keep": 1}
            title = f"pass {number} of {parts.chain.num_passes}"
            print(f"\n  {title}")
            one = build(config, parts.choices)
            done = workflow.run(one, store, title, {"pass": str(number)}, run.id)
            from_run = done.student_run
            rows.append(_row(number, done))
            run.log_text(tables.csv_text(rows), PASSES)
        run.log_metrics(done.report.metrics)
        path = report_of(store, run.id)
        run.set_tags({"mlflow.note.content": tables.markdown(rows), MODEL: done.model})
        below = f"tags.`mlflow.parentRunId` = '{run.id}'"
        look = store.view(run.id, below, ["choices.loss", "seed"], parts.data.info.quality.decides)
    print("\n" + tables.text(rows))
    return replace(done, run_id=run.id, look=look, report_path=path)


def _row(number: int, done: Done) -> dict[str, str | float | int | None]:
    report = done.report
    teacher, control, student = (report.row(name) for name in (TEACHER, CONTROL, DISTILLED))
    quality = report.validation.compared_by.label
    return {
        "pass": number,
        "student": student.architecture,
        "parameters": student.cost.parameters,
        f"val {quality}": report.validation.quality,
        f"test {quality}": student.scores.quality,
        "without teacher": control.scores.quality,
        "its teacher": teacher.scores.quality,
        "agreement": student.agreement,
    }
