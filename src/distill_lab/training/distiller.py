"""Training a student with the help of one or several teachers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from distill_lab.contracts import Batch, DistillBatch, Extra, LossValue, Output
from distill_lab.knowledge.cache import AnswerCache
from distill_lab.knowledge.taps import classifier_of, forward_with_taps
from distill_lab.losses.objective import Objective
from distill_lab.settings import Regime
from distill_lab.temperature import Temperature
from distill_lab.training.balance import GradientBalance
from distill_lab.training.synced_norm import unsynced_batch_norms
from distill_lab.training.teacher import Teacher
from distill_lab.training.trainee import Trainee


class Distiller(Trainee):
    """Student and teachers together.

    The teachers are not submodules: they stay in eval mode whatever Lightning does, have no
    gradient, and are in neither the optimiser nor a checkpoint. They are not asked where no term
    uses a teacher. The objective is a submodule, so regressors are trained.

    Args:
        student: the network that is trained.
        teachers: the networks it learns from.
        objective: connected to student and teachers.
        temperature: of each step.
        regime: how to train.
        num_classes: K.
        seed: of the mixing of samples.
        caches: one per teacher, or None where it is not cached; () for none at all.
        balance_every: batches between two looks at the terms' gradients; None: no balance.
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
        caches: Sequence[AnswerCache | None] = (),
        balance_every: int | None = None,
    ) -> None:
        super().__init__(student, regime, num_classes, seed)
        self.objective = objective
        self.temperature = temperature
        self._needs = objective.needs
        with_caches = zip(teachers, caches or [None] * len(teachers), strict=True)
        self._teachers = tuple(
            Teacher(net, self._needs.teacher, regime.batch_size, cache)
            for net, cache in (with_caches if objective.asks_teachers(0.0) else ())
        )
        self._classifier = (classifier_of(student),)  # in a tuple, as it is the student's, not ours
        self._balance = (
            None if balance_every is None else GradientBalance(objective, student, balance_every)
        )
        self._used_temperature = temperature(0.0)
        self._used_epoch = 0.0

    @property
    def networks(self) -> list[nn.Module]:
        """The student and its teachers."""
        return [self.net, *(teacher.net for teacher in self._teachers)]

    def on_fit_start(self) -> None:
        """Move the teachers to the student's device, and ask them about its rows of a batch."""
        for teacher in self._teachers:
            teacher.to(self.device, self.memory_format)
            teacher.batch_size = self.regime.batch_size // self.group.size

    def on_train_epoch_end(self) -> None:
        """Let the teachers' caches write what they hold back."""
        for teacher in self._teachers:
            teacher.finish_pass()
        if self.group.size > 1 and self._teachers:
            self.group.wait()  # what the others have written is then there to be read
            for teacher in self._teachers:
                teacher.finish_pass()

    def on_train_end(self) -> None:
        """Count what the caches of all processes were good for."""
        for cache in (teacher.cache for teacher in self._teachers):
            if cache is not None:
                numbers = [cache.num_read, cache.num_computed]
                cache.num_read, cache.num_computed = self.group.total(numbers)

    def progress_state(self) -> dict[str, Any]:
        """Add what is known of the terms' gradients."""
        balance = None if self._balance is None else self._balance.state_dict()
        used = [self._used_temperature, self._used_epoch]
        return {**super().progress_state(), "balance": balance, "used": used}

    def restore_progress(self, state: dict[str, Any]) -> None:
        """Go on from what `progress_state` returned."""
        super().restore_progress(state)
        self._used_temperature, self._used_epoch = state["used"]
        if self._balance is not None:
            self._balance.load_state_dict(state["balance"])

    def objective_of(self, batch: Batch) -> LossValue:
        """Return the objective of student and teachers on the same inputs."""
        self._used_temperature = self.temperature(self.progress)
        self._used_epoch = self.epochs_done
        count, group = len(batch.index), self.group
        student = group.gather_output(self._student_says(batch.inputs), count)
        own = batch._replace(index=batch.index[group.rows(count)])
        inputs = group.gather(batch.inputs, count)
        asked_now = self._teachers if self.objective.asks_teachers(self._used_epoch) else ()
        teachers = tuple(
            replace(group.gather_output(teacher.answer(own), count), classifier=teacher.classifier)
            for teacher in asked_now
        )
        index = batch.index.to(student.logits.device, non_blocking=True)
        asked = DistillBatch(
            student,
            teachers,
            batch.targets,
            index,
            self._used_temperature,
            self._used_epoch,
            self.regime.epochs,
            inputs=inputs,
        )
        # From here on every process does the same, with the same random numbers.
        self._draw(apart=False)
        terms = self.objective.values(asked, self._extra(inputs))
        if self._balance is not None:
            self._balance.update(terms, group)
        return self.objective.total(terms, asked.epoch, asked.num_epochs)

    def _student_says(self, inputs: Tensor) -> Output:
        said = forward_with_taps(self.net, inputs, list(self._needs.student))
        return replace(said, classifier=self._classifier[0])

    def _extra(self, inputs: Tensor) -> dict[str, Extra]:
        """Ask student and teachers about the further inputs of the terms that want some.

        Every process asks about all of them, so its batch norms must not count them once for each.
        """
        asked = self.objective.extra_inputs(inputs, self._used_epoch)
        with unsynced_batch_norms(self.net):
            return {
                name: Extra(
                    self._student_says(more), tuple(teacher.ask(more) for teacher in self._teachers)
                )
                for name, more in asked.items()
            }

    def on_validation_epoch_end(self) -> None:
        """Add temperature, and weights that change, of the epoch's last step to its row."""
        super().on_validation_epoch_end()
        row, objective = self.curve[-1], self.objective
        row["train/temperature"] = self._used_temperature
        for name, weight in objective.weights(self._used_epoch, self.regime.epochs).items():
            if name in objective.schedules or self._balance is not None:
                row[f"train/weight/{name}"] = weight
