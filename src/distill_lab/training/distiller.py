"""Training a student with the help of one or several teachers."""

from __future__ import annotations

import torch
from torch import nn

from distill_lab.contracts import Batch, DistillBatch, LossValue, Output
from distill_lab.knowledge.taps import forward_with_taps
from distill_lab.losses.objective import Objective
from distill_lab.settings import Regime
from distill_lab.temperature import Temperature
from distill_lab.training.trainee import Trainee


class Distiller(Trainee):
    """Student and teachers together.

    The teachers are not submodules: they stay in eval mode whatever Lightning does, have no
    gradient, and are in neither the optimiser nor a checkpoint. They are not run where no term uses
    a teacher. The objective is a submodule, so regressors are trained.
    """

    def __init__(
        self,
        student: nn.Module,
        teachers: list[nn.Module],
        objective: Objective,
        temperature: Temperature,
        regime: Regime,
        num_classes: int,
        seed: int,
    ) -> None:
        super().__init__(student, regime, num_classes, seed)
        self.objective = objective
        self.temperature = temperature
        asked = any(term.uses_teacher for term in objective.losses.values())
        self._teachers = tuple(t.eval().requires_grad_(False) for t in teachers if asked)
        self._needs = objective.needs
        self._used_temperature = temperature(0.0)

    def on_fit_start(self) -> None:
        """Move the teachers to the student's device."""
        for teacher in self._teachers:
            teacher.to(self.device)

    def objective_of(self, batch: Batch) -> LossValue:
        """Return the objective of student and teachers on the same inputs."""
        student = _output(self.net, batch, self._needs.student)
        with torch.no_grad():
            teachers = tuple(_output(net, batch, self._needs.teacher) for net in self._teachers)
        self._used_temperature = self.temperature(self.progress)
        value: LossValue = self.objective(
            DistillBatch(student, teachers, batch.targets, batch.index, self._used_temperature)
        )
        return value

    def on_validation_epoch_end(self) -> None:
        """Add the temperature of the epoch's last step to its row."""
        super().on_validation_epoch_end()
        self.curve[-1]["train/temperature"] = self._used_temperature


def _output(net: nn.Module, batch: Batch, taps: tuple[str, ...]) -> Output:
    if not taps:
        return Output(net(batch.inputs))
    return forward_with_taps(net, batch.inputs, list(taps))
