"""What every stage is handed besides the hand-offs of earlier stages."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from distill_lab.contracts import Arrays, Component, DataInfo, Parts, Splits
from distill_lab.data.counter import Stream, permutation
from distill_lab.data.subset import subset
from distill_lab.fingerprint import fingerprint
from distill_lab.measure.scores import score
from distill_lab.report import plots
from distill_lab.settings import Regime
from distill_lab.stages.handoffs import Candidate, StudentDesign, TrainedStudent, Weights
from distill_lab.training.callbacks import Watch
from distill_lab.training.checkpoint import Checkpoint
from distill_lab.training.device import device_of
from distill_lab.training.fit import Fitted, fit, memory_format
from distill_lab.training.predict import predict_logits
from distill_lab.training.trainee import Trainee

if TYPE_CHECKING:
    from distill_lab.tracking.run import TrackedRun
    from distill_lab.tracking.store import Store

NUM_BINS = 15  # of the ECE on the validation split; Guo et al. 2017
REMEMBERED_BYTES = 2**27
"""Of answers that are kept in memory: of 300 networks with 10 classes about 10,000 samples."""
_remembered: dict[str, Tensor] = {}
"""What was found of networks, as logits (N, K), by what decides it, the longest unused first."""


@dataclass(frozen=True)
class Context:
    """The parts of the run, its data, and the MLflow run that the stage writes to.

    Attributes:
        data_checksum: SHA-256 of the splits.
        watch: asked after each epoch whether to go on; None: trainings go to their end.
    """

    parts: Parts
    splits: Splits
    data_checksum: str
    run: TrackedRun
    store: Store
    watch: Watch | None = None

    @property
    def info(self) -> DataInfo:
        """What is known of the dataset."""
        return self.parts.data.info

    def new_network(self, architecture: Component, seed: int) -> nn.Module:
        """Make a network whose initial weights depend on the seed alone."""
        with torch.random.fork_rng(devices=[]):  # networks are made on the CPU
            torch.manual_seed(seed)
            return architecture.make_network(self.info)

    def first_network(self, student: StudentDesign) -> nn.Module:
        """Make the student as its training starts.

        Raises:
            RunError: the weights that it starts from are missing or altered.
        """
        net = self.new_network(student.architecture, self.parts.seed)
        first = student.initial
        if first is not None:
            self.store.load_weights(net, first.run_id, first.path, first.sha256).train()
        return net

    def trained_network(self, trained: Candidate | TrainedStudent) -> nn.Module:
        """Make a network and load its verified weights; in eval mode.

        Raises:
            RunError: the weights are missing or altered.
        """
        net = trained.architecture.make_network(self.info)
        weights = trained.weights
        return self.store.load_weights(net, weights.run_id, weights.path, weights.sha256)

    @property
    def seen(self) -> Tensor:
        """Numbers (M,) of the training samples that the run's regime trains students on."""
        regime, targets = self.parts.regime, self.splits.train.targets
        return subset(targets, regime.leave_out_classes, regime.num_samples, self.parts.seed)

    def sample(self, number: int, count: int) -> Tensor:
        """Draw at most `count` of `number` samples by the run's seed; they may lie sorted."""
        return permutation(number, self.parts.seed, 0, Stream.SHUFFLE)[:count]

    def fit(self, trainee: Trainee, seed: int, title: str, prefix: str = "") -> Fitted:
        """Train under the trainee's regime; the curve is logged under `prefix`.

        Raises:
            RunError: the loss is not finite.
            Pruned: the watch ended it.
        """

        def log(row: dict[str, float], epoch: int) -> None:
            named = {f"{prefix}{key}": value for key, value in row.items()}
            self.run.log_metrics(named, epoch)

        return fit(
            trainee,
            self.info,
            self.splits,
            trainee.regime,
            self.parts.hardware,
            seed,
            title,
            log,
            self._checkpoint(trainee.regime, seed, title, prefix),
            self.watch,
        )

    def _checkpoint(self, regime: Regime, seed: int, *names: str) -> Checkpoint | None:
        """Return where a training of the stage's run is kept until the run has finished.

        There is none with `reuse=off`, under which nothing is taken from earlier runs.
        """
        minutes, reuse = self.parts.hardware.checkpoint_minutes, self.parts.reuse
        if minutes is None or reuse == "off" or self.run.unfinished is None:
            return None
        name = fingerprint(asdict(regime), seed, names, torch.get_num_threads())

        def found() -> None:
            self.run.set_tags({"resumed": names[0]})
            print(f"  {names[0]}: goes on where it was stopped")

        return Checkpoint(self.run.unfinished / f"{name[:24]}.ckpt", 60 * minutes, found)

    def predict(self, net: nn.Module, arrays: Arrays) -> Tensor:
        """Return the logits (N, K) of a network over a split, computed on the run's device."""
        hardware = self.parts.hardware
        net.to(device_of(hardware)).to(memory_format=memory_format(hardware))
        logits = predict_logits(net, arrays, self.info)
        net.cpu().to(memory_format=torch.contiguous_format)
        return logits

    def predict_test(self, trained: Candidate | TrainedStudent, net: nn.Module) -> Tensor:
        """Return `predict` of a trained network on the test split, asked once, see `once`."""
        return self.once(trained, lambda: self.predict(net, self.splits.test), "test")

    def once(
        self, trained: Candidate | TrainedStudent, find: Callable[[], Tensor], *about: Any
    ) -> Tensor:
        """Return what is found of a trained network.

        What a job of this process has already found, as of its teacher or control, is remembered.

        Args:
            trained: the network.
            find: asks it about samples of the run's data.
            about: plain values that tell which samples these are, and what is found.
        """
        key = fingerprint(
            trained.weights.sha256,
            [trained.architecture.target, trained.architecture.args],
            self.data_checksum,
            self.info.decisive,
            [str(device_of(self.parts.hardware)), str(memory_format(self.parts.hardware))],
            torch.get_num_threads(),
            about,
        )
        found = _remembered.pop(key, None)
        if found is None:
            found = find()
        _remembered[key] = found
        while sum(kept.nbytes for kept in _remembered.values()) > REMEMBERED_BYTES:
            del _remembered[next(iter(_remembered))]
        return found

    def save_weights(self, net: nn.Module, name: str) -> Weights:
        """Keep a network's weights as an artifact of the stage's run."""
        path = f"weights/{name}.safetensors"
        return Weights(self.run.id, path, self.run.log_weights(net, path))

    def trained_student(self, design: StudentDesign, fitted: Fitted, name: str) -> TrainedStudent:
        """Score a trained student on the validation split, keep its weights and plot its curves."""
        validation = self.splits.validation
        logits = self.predict(fitted.net, validation)
        scores = score(logits, validation.targets, NUM_BINS, validation.had)
        self.run.log_metrics(
            {
                "kept/val/accuracy": scores.accuracy,
                f"kept/val/{scores.compared_by.key}": scores.quality,
                "kept/val/nll": scores.nll,
                "kept/val/ece": scores.ece,
                "kept/epoch": fitted.kept_epoch,
                "seconds": fitted.seconds,
            }
        )
        epochs = [float(epoch + 1) for epoch in range(len(fitted.curve))]
        for prefix, label in (("train/loss/", "training loss"), ("val/", "validation")):
            names = [key for key in fitted.curve[0] if key.startswith(prefix)]
            curves = {  # a term that is stopped has no value any more
                key.removeprefix(prefix): [row.get(key, math.nan) for row in fitted.curve]
                for key in names
            }
            figure = plots.lines(epochs, curves, f"{name}: {label}", "epoch", label)
            self.run.log_figure(figure, f"{label.replace(' ', '_')}.png")
        own_rows = self.info.of_students is not None
        return TrainedStudent(
            design.label,
            replace(design.architecture, is_student=own_rows),
            self.save_weights(fitted.net, name),
            scores,
            len(fitted.curve),
            fitted.kept_epoch,
            fitted.seconds,
        )
