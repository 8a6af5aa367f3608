"""Compressed networks, each made and measured once on a store, by whichever process is first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import metadata
from time import perf_counter

from safetensors.torch import load_file
from torch import Tensor, nn

from distill_lab.compress.base import Step
from distill_lab.compress.graph import Graph
from distill_lab.compress.resized import resized
from distill_lab.compress.stored import stored, unpacked
from distill_lab.compress.zeros import hold_zeros, settle
from distill_lab.contracts import Arrays, Component, Parts, placeholder
from distill_lab.data.normalise import normalise
from distill_lab.data.subset import subset
from distill_lab.environment import environment
from distill_lab.errors import RunError
from distill_lab.fingerprint import REUSE_TAG, fingerprint, source_hash, targets
from distill_lab.losses.weighting import has_stopped, weight_factor
from distill_lab.measure.cost import count_macs, count_parameters, latency_on
from distill_lab.measure.fidelity import agreement, kl_to_teacher
from distill_lab.measure.scores import score
from distill_lab.stages.context import Context
from distill_lab.stages.handoffs import (
    HANDOFF,
    Candidate,
    ConnectedLoss,
    TeacherChoice,
    TrainedStudent,
    Weights,
    from_plain,
    to_plain,
)
from distill_lab.stages.lesson import teach
from distill_lab.stages.report_handoff import PYTORCH, Variant
from distill_lab.training.device import numeric
from distill_lab.training.predict import predict_logits
from distill_lab.training.supervised import Supervised

Chain = tuple[str, ...]
"""Names of steps, in order: a chain, or the beginning of one."""
PACKAGES = ("torchao", "torch-pruning", "onnx", "onnxruntime")


@dataclass(frozen=True)
class Origin:
    """A trained network that is compressed.

    Attributes:
        name: of its row.
        trained: where it comes from.
        net: itself.
        is_distilled: whether teachers taught it; they do then in the trainings of steps too.
    """

    name: str
    trained: Candidate | TrainedStudent
    net: nn.Module
    is_distilled: bool


@dataclass(frozen=True)
class Lesson:
    """What the distilled student was taught by."""

    teacher: TeacherChoice
    loss: ConnectedLoss


def beginnings(parts: Parts) -> list[Chain]:
    """Return every beginning of every chain, each once, after what it begins with itself."""
    chains = parts.variants.wanted(parts.compress)
    every = (tuple(chain[: n + 1]) for chain in chains for n in range(len(chain)))
    return list(dict.fromkeys(every))


class Maker:
    """Makes the variants of one network.

    Args:
        context: of stage 6; each variant is a run below its run.
        origin: the network.
        lesson: what it was taught by, if it was distilled.
        teacher_logits: (N, K) on the test split.
    """

    def __init__(
        self,
        context: Context,
        origin: Origin,
        lesson: Lesson,
        teacher_logits: Tensor,
    ) -> None:
        self.context = context
        self.origin = origin
        self.lesson = lesson
        self.teacher_logits = teacher_logits
        self.steps: dict[str, Step] = {
            name: component.make() for name, component in context.parts.compress.items()
        }
        self._nets: dict[Chain, nn.Module] = {(): origin.net}
        self._files: dict[Chain, Weights] = {}

    def obtain(self, chain: Chain) -> Variant:
        """Return a variant from the store, or make and measure it; its beginnings come before it.

        Raises:
            RunError: a step cannot treat the network, or an export does not answer as it should.
        """
        keys = self._fingerprints(chain)
        with self.context.store.lock(keys["fingerprint"]):
            found = self._known(chain, keys) or self._make(chain, keys)
        self._files[chain] = found.file
        return found

    def _fingerprints(self, chain: Chain) -> dict[str, str]:
        """Return hashes of all that can change a variant: with the code it reaches, and without."""
        parts, info, trained = self.context.parts, self.context.info, self.origin.trained
        config = parts.config
        nodes = [config["compress"][name] for name in chain]
        network = [trained.architecture.target, trained.architecture.args]
        sections = ["data"]
        taught: list[object] = []
        if any(self.steps[name].epochs for name in chain):
            sections += ["regime", "loss", "temperature", "weighting"]
            weights = [one.weights.sha256 for one in self.lesson.teacher.kept]
            taught = [self.origin.is_distilled, weights, self.lesson.loss.pairs]
            taught += [config[key] for key in sections[1:]]
            taught += [parts.variants.lr_fraction, None if parts.cache.exact else config["cache"]]
        about = (
            "variant",
            [list(chain), nodes, trained.weights.sha256, network, taught, parts.seed],
            numeric(parts.hardware),
            [self.context.data_checksum, info.decisive],
        )
        modules = [__name__, trained.architecture.target.rpartition(".")[0]]
        modules += [name for node in (*nodes, *map(config.get, sections)) for name in targets(node)]
        hashes = {"same_code": fingerprint(*about, source_hash(modules))}
        hashes["any_code"] = fingerprint(*about)
        return {REUSE_TAG[how]: value for how, value in hashes.items()}

    def _known(self, chain: Chain, keys: dict[str, str]) -> Variant | None:
        """Return a variant that the store has, file and all, as far as it may be reused."""
        parts, store = self.context.parts, self.context.store
        if parts.reuse == "off":
            return None
        tag = REUSE_TAG[parts.reuse]
        found = store.find_finished({tag: keys[tag]})
        if found is None:
            return None
        try:
            known = from_plain(Variant, store.read_json(found.id, HANDOFF))
            store.verify(known.file.run_id, known.file.path, known.file.sha256)
        except (RunError, KeyError, TypeError) as error:
            print(f"  variant {' + '.join(chain)} is made again: {error}")
            return None
        return replace(known, of=self.origin.name)

    def _make(self, chain: Chain, keys: dict[str, str]) -> Variant:
        context = self.context
        about = {
            "kind": "variant",
            "data": context.info.name,
            "data_checksum": context.data_checksum,
            "seed": str(context.parts.seed),
            **environment(),
            **{f"version.{name}": metadata.version(name) for name in PACKAGES},
            **keys,
        }
        name, start = f"{self.origin.name} + {' + '.join(chain)}", perf_counter()
        with context.store.start(name, about, context.run.id) as run:
            nodes = context.parts.config["compress"]
            run.log_params({"compress": {one: nodes[one] for one in chain}})
            inside = replace(context, run=run)
            try:
                self._nets[chain] = self._made(chain, inside)
            except ValueError as error:
                raise RunError(
                    f"compress.{chain[-1]}: of the {self.origin.name}: {error}"
                ) from error
            variant = self._measured(chain, inside, perf_counter() - start)
            run.log_json(to_plain(variant), HANDOFF)
        return variant

    def _made(self, chain: Chain, context: Context) -> nn.Module:
        """Take the last step, with its trainings."""
        step, net = self.steps[chain[-1]], self._net(chain[:-1])
        for number in range(step.rounds):
            net = step.begin(net, self._examples(step), number)
            if step.epochs:
                prefix = f"round_{number + 1}/" if step.rounds > 1 else ""
                hold_zeros(net)
                net = self._trained(net.train(), step.epochs, context, prefix)
                settle(net)
                net = step.finish(net)
        return net

    def _trained(self, net: nn.Module, epochs: int, context: Context, prefix: str) -> nn.Module:
        """Train as the origin was trained, for so many epochs."""
        parts, title = context.parts, f"{prefix}{self.origin.name}, compressed"
        lr = parts.regime.lr * parts.variants.lr_fraction
        regime = replace(parts.regime, epochs=epochs, lr=lr)
        if not self.origin.is_distilled:
            regime = regime.on_labels(len(self._seen))
            trainee = Supervised(net, regime, context.info.num_classes, parts.seed)
            return context.fit(trainee, parts.seed, title, prefix).net
        terms = at_the_end(parts)
        weighting = replace(parts.weighting, schedules={})
        inside = replace(
            context, parts=replace(parts, regime=regime, loss=terms, weighting=weighting)
        )
        teacher, loss = self.lesson.teacher, self.lesson.loss
        teachers = [context.trained_network(candidate) for candidate in teacher.kept]
        pairs = {name: chosen for name, chosen in loss.pairs.items() if name in terms}
        loss = replace(loss, pairs=pairs)
        return teach(inside, net, teacher, teachers, loss, title, prefix).net

    def _net(self, chain: Chain) -> nn.Module:
        """Return the network of a variant that was obtained, be it of another process."""
        if chain not in self._nets:
            step, file = self.steps[chain[-1]], self._files[chain]
            if step.gives in ("float", "grid"):
                local = self.context.store.verify(file.run_id, file.path, file.sha256)
                self._nets[chain] = resized(self.origin.net, unpacked(load_file(local)))
            else:
                self._nets[chain] = step.begin(self._net(chain[:-1]), self._examples(step), 0)
        return self._nets[chain]

    def _examples(self, step: Step) -> Tensor:
        """Return normalised training inputs (N, ...) that students saw."""
        seen = self._seen
        some = seen[self.context.sample(len(seen), step.num_examples)]
        return normalise(self.context.splits.train.inputs[some], self.context.info)

    @property
    def _seen(self) -> Tensor:
        """Numbers of the training samples that students saw."""
        parts, targets = self.context.parts, self.context.splits.train.targets
        regime = parts.regime
        return subset(targets, regime.leave_out_classes, regime.num_samples, parts.seed)

    def _measured(self, chain: Chain, context: Context, seconds: float) -> Variant:
        """Measure on the test split; where the step is an export, hold it against its network."""
        splits, evaluation = context.splits, context.parts.evaluation
        net, whole = self._net(chain), self._net(self._last_float(chain))
        logits = self._said(net, splits.test)
        difference = self._difference(chain, logits)
        file = stored(net)
        name = f"{'.'.join(chain)}.{file.suffix}"
        kept = Weights(context.run.id, name, context.run.log_bytes(file.content, name))
        validation, test = splits.validation, splits.test
        said = self._said(net, validation)
        inputs = placeholder(self.origin.net, context.info.input_shape, 1)
        variant = Variant(
            self.origin.name,
            list(chain),
            net.runtime if isinstance(net, Graph) else PYTORCH,
            any(self.steps[one].makes_int8 for one in chain),
            kept,
            score(logits, test.targets, evaluation.num_bins, test.had),
            agreement(logits, self.teacher_logits),
            kl_to_teacher(logits, self.teacher_logits),
            count_parameters(whole),
            count_macs(whole, context.info.input_shape),
            len(file.content),
            latency_on(net, inputs, evaluation.latency_repeats)[0],
            score(said, validation.targets, evaluation.num_bins, validation.had),
            difference,
            seconds,
        )
        context.run.log_metrics(variant.metrics)
        return variant

    def _difference(self, chain: Chain, logits: Tensor) -> float | None:
        """Return how far an export is from its network on the test split.

        Raises:
            RunError: further than its tolerance.
        """
        step = self.steps[chain[-1]]
        if not step.exact:
            return None
        asked = self._said(self._net(chain[:-1]), self.context.splits.test)
        found = float((logits - asked).abs().max() / asked.abs().max().clamp(min=1e-12))
        if not found <= step.tolerance:
            raise RunError(
                f"compress.{chain[-1]}.tolerance: of the {self.origin.name}, a logit on the "
                f"{len(asked):,} samples of the test split differs by {found:.2g} of the largest, "
                f"at most {step.tolerance:g} is allowed."
            )
        return found

    def _last_float(self, chain: Chain) -> Chain:
        """Return the longest beginning that is still in float, whose layers can be counted."""
        while chain and self.steps[chain[-1]].gives not in ("float", "grid"):
            chain = chain[:-1]
        return chain

    def _said(self, net: nn.Module, arrays: Arrays) -> Tensor:
        return predict_logits(net, arrays, self.context.info)


def at_the_end(parts: Parts) -> dict[str, Component]:
    """Return the loss terms with the weights they have when the training of stage 5 ends."""
    schedules, epochs = parts.weighting.schedules, parts.regime.epochs
    terms = {}
    for name, term in parts.loss.items():
        schedule = schedules.get(name, {})
        if not has_stopped(schedule, epochs):
            weight = term.args["weight"] * weight_factor(schedule, epochs, epochs)
            terms[name] = replace(term, args=term.args | {"weight": weight})
    return terms
