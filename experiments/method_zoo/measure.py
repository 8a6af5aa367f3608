"""The runs of one method, each through the six stages."""

from __future__ import annotations

import os
from contextlib import redirect_stdout

from distill_lab.config.compose import compose
from distill_lab.errors import DistillLabError
from distill_lab.launch import checked, run_job
from distill_lab.parallel import be_quiet
from distill_lab.stages.report_handoff import CONTROL, DISTILLED, TEACHER
from experiments.method_zoo.leaderboard import Run, chosen_multiplier
from experiments.method_zoo.methods import MULTIPLIERS, SEEDS, Method

COMMON = ("tracking.experiment=method_zoo", "hardware.threads=1")


def measure(method: Method) -> list[Run]:
    """Train at every weight with the first seed, then at the chosen one with the others."""
    be_quiet()
    runs = [train(method, multiplier, SEEDS[0]) for multiplier in MULTIPLIERS]
    chosen = chosen_multiplier(runs)
    return runs if chosen is None else [*runs, *(train(method, chosen, s) for s in SEEDS[1:])]


def train(method: Method, multiplier: float, seed: int) -> Run:
    """Run the six stages for one student; a run that cannot be finished says why."""
    published = compose(method.overrides_of(None, seed))["loss"][method.term]["weight"]
    weight = published * multiplier
    overrides = [*method.overrides_of(weight, seed), *COMMON]
    name = f"{method.name}, weight {weight:g}, seed {seed}"
    about = (method.name, method.experiment, method.loss, multiplier, weight, seed)
    try:
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
            report = run_job(checked(overrides), overrides, name).report
    except DistillLabError as error:
        return Run(*about, error=str(error))
    student, control, teacher = map(report.row, (DISTILLED, CONTROL, TEACHER))
    return Run(
        *about,
        report.validation.accuracy,
        student.scores.accuracy,
        control.scores.accuracy,
        teacher.scores.accuracy,
        student.agreement,
        report.seconds_per_epoch,
    )
