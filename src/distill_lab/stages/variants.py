"""Compressed networks, each made once on a store, by whichever process is first."""

from __future__ import annotations

from dataclasses import replace
from importlib import metadata
from time import perf_counter

from safetensors.torch import load_file
from torch import Tensor, nn

from distill_lab.compress.base import Step
from distill_lab.compress.graph import Graph
from distill_lab.compress.resized import resized
from distill_lab.compress.stored import graph_of, stored, unpacked
from distill_lab.compress.zeros import hold_zeros, settle
from distill_lab.contracts import Parts, placeholder
from distill_lab.data.normalise import normalise
from distill_lab.environment import environment
from distill_lab.errors import RunError
from distill_lab.fingerprint import REUSE_TAG, fingerprint, source_hash, targets
from distill_lab.measure.cost import count_macs, count_parameters
from distill_lab.measure.fidelity import agreement, kl_to_teacher, logit_difference
from distill_lab.measure.paired import mcnemar
from distill_lab.measure.peak_memory import peak_with_mib, plain, weights_of
from distill_lab.measure.scores import score
from distill_lab.measure.timing import Latency, latencies_on
from distill_lab.stages.context import Context
from distill_lab.stages.cost_handoff import PYTORCH
from distill_lab.stages.handoffs import (
    HANDOFF,
    Weights,
    from_plain,
    to_plain,
)
from distill_lab.stages.report_handoff import Variant
from distill_lab.stages.retraining import Origin, decisive, retrain
from distill_lab.stages.robustness import answered
from distill_lab.stages.running_costs import Asked
from distill_lab.training.device import numeric
from distill_lab.training.predict import predict_logits

Chain = tuple[str, ...]
"""Names of steps, in order: a chain, or the beginning of one."""
PACKAGES = ("torchao", "torch-pruning", "onnx", "onnxruntime")


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
        teacher_logits: (N, K) on the test split.
        right: (N,) bool, the test samples that the network itself is right on.
    """

    def __init__(
        self, context: Context, origin: Origin, teacher_logits: Tensor, right: Tensor
    ) -> None:
        self.context = origin.inside(context)
        self.origin = origin
        self.teacher_logits = teacher_logits
        self.right = right
        self.steps: dict[str, Step] = {
            name: component.make() for name, component in context.parts.compress.items()
        }
        self._nets: dict[Chain, nn.Module] = {(): origin.net}
        self._files: dict[Chain, Weights] = {}
        self._latencies: dict[Chain, Latency] = {}

    def obtain(self, chain: Chain) -> Variant:
        """Make a variant, unless the store has it, and measure it; its beginnings come before it.

        Raises:
            RunError: a step cannot treat the network, or an export does not answer as it should.
        """
        keys = self._fingerprints(chain)
        with self.context.store.turn(keys["fingerprint"], self.context.run.id):
            known = self._known(chain, keys)
            if known is None:
                return self._make(chain, keys)
        self._files[chain] = known.file
        return self._measured(chain, known.file, known.difference, known.seconds)

    def asked(self, chain: Chain, variant: Variant) -> Asked:
        """Return what a variant that was obtained is asked for its cost as."""
        net, like, timed = self._net(chain), self.origin.net, self._latencies[chain]
        size = variant.file_bytes
        return Asked(variant.name, net, like, timed, variant.runtime, on_cpu=True, file_bytes=size)

    def _fingerprints(self, chain: Chain) -> dict[str, str]:
        """Return hashes of all that can change the file: with the code it reaches, and without."""
        parts, info, trained = self.context.parts, self.context.info, self.origin.trained
        config, regime = parts.config, parts.regime
        nodes = [config["compress"][name] for name in chain]
        network = [trained.architecture.target, trained.architecture.args]
        training = None
        if any(self.steps[name].epochs for name in chain):
            training = decisive(self.origin, parts)
        about = (
            "variant",
            [list(chain), nodes, trained.weights.sha256, network, training, parts.seed],
            [regime.leave_out_classes, regime.num_samples],
            numeric(parts.hardware),
            [self.context.data_checksum, info.decisive],
        )
        used = ["data"] if training is None else ["data", "loss", "temperature"]
        modules = [__name__, trained.architecture.target.rpartition(".")[0]]
        modules += [name for node in (*nodes, *map(config.get, used)) for name in targets(node)]
        hashes = {"same_code": fingerprint(*about, source_hash(modules))}
        hashes["any_code"] = fingerprint(*about)
        return {REUSE_TAG[how]: value for how, value in hashes.items()}

    def _known(self, chain: Chain, keys: dict[str, str]) -> Variant | None:
        """Return a variant that the store has, file and all, as far as it may be reused.

        It was measured beside another teacher, or by another session: it is measured again.
        """
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
            print(f"  {self._title(chain)} is made again: {error}")
            return None
        return known

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
        print(f"  {self._title(chain)}")
        start = perf_counter()
        with context.store.start(self._title(chain), about, context.run.id) as run:
            nodes = context.parts.config["compress"]
            run.log_params({"compress": {one: nodes[one] for one in chain}})
            try:
                net = self._nets[chain] = self._compressed(chain, replace(context, run=run))
            except ValueError as error:
                raise RunError(
                    f"compress.{chain[-1]}: of the {self.origin.name}: {error}"
                ) from error
            seconds, difference = perf_counter() - start, self._difference(chain)
            file = stored(net)
            name = f"{'.'.join(chain)}.{file.suffix}"
            kept = Weights(run.id, name, run.log_bytes(file.content, name))
            self._files[chain] = kept
            variant = self._measured(chain, kept, difference, seconds)
            run.log_metrics(variant.metrics)
            run.log_json(to_plain(variant), HANDOFF)
        return variant

    def _compressed(self, chain: Chain, context: Context) -> nn.Module:
        """Take the last step, with its trainings."""
        step, net = self.steps[chain[-1]], self._net(chain[:-1])
        for number in range(step.rounds):
            net = step.begin(net, self._examples(step), number)
            if step.epochs:
                title = f"round {number + 1}/{step.rounds}"
                prefix = f"round_{number + 1}/" if step.rounds > 1 else ""
                hold_zeros(net)
                net = retrain(self.origin, net.train(), step.epochs, context, title, prefix)
                settle(net)
                net = step.finish(net)
        return net

    def _net(self, chain: Chain) -> nn.Module:
        """Return the network of a variant that was obtained, be it of another process."""
        if chain not in self._nets:
            step, file = self.steps[chain[-1]], self._files[chain]
            local = self.context.store.verify(file.run_id, file.path, file.sha256)
            if step.gives == "graph":
                self._nets[chain] = graph_of(local.read_bytes(), local.suffix)
            elif step.gives == "int8":
                self._nets[chain] = step.begin(self._net(chain[:-1]), self._examples(step), 0)
            else:
                self._nets[chain] = resized(self.origin.net, unpacked(load_file(local)))
        return self._nets[chain]

    def _examples(self, step: Step) -> Tensor:
        """Return normalised training inputs (N, ...) that the network saw."""
        seen = self.context.seen
        some = seen[self.context.sample(len(seen), step.num_examples)]
        return normalise(self.context.splits.train.inputs[some], self.context.info)

    def _measured(
        self, chain: Chain, file: Weights, difference: float | None, seconds: float
    ) -> Variant:
        context, origin, net = self.context, self.origin, self._net(chain)
        evaluation, info = context.parts.evaluation, context.info
        validation, test = context.splits.validation, context.splits.test
        on_validation, on_test = (predict_logits(net, one, info) for one in (validation, test))
        whole, twin = self._net(self._last_float(chain)), self._in_float(chain)
        inputs = placeholder(origin.net, info.input_shape, 1)
        timed = [net] if twin is None else [net, twin]
        latencies = latencies_on(timed, inputs, evaluation.latency_repeats)
        self._latencies[chain] = latencies[0]
        return Variant(
            of=origin.name,
            steps=list(chain),
            runtime=net.runtime if isinstance(net, Graph) else PYTORCH,
            is_int8=twin is not None,
            file=file,
            scores=score(on_test, test.targets, evaluation.num_bins, test.had),
            agreement=agreement(on_test, self.teacher_logits),
            kl_to_teacher=kl_to_teacher(on_test, self.teacher_logits),
            parameters=count_parameters(whole),
            macs=count_macs(whole, info.input_shape),
            file_bytes=context.store.fetch(file.run_id, file.path).stat().st_size,
            latency_ms=latencies[0].p50_ms,
            validation=score(
                on_validation, validation.targets, evaluation.num_bins, validation.had
            ),
            difference=difference,
            seconds=seconds,
            against_origin=mcnemar(answered(on_test, test), self.right),
            float_latency_ms=None if twin is None else latencies[1].p50_ms,
            peak_memory_mib=_peak_memory_mib(net, inputs),
        )

    def _in_float(self, chain: Chain) -> nn.Module | None:
        """Return what an int8 network is timed against: in float, by the same runtime."""
        if not any(self.steps[one].makes_int8 for one in chain):
            return None
        net, whole = self._net(chain), self._net(self._last_float(chain))
        if not isinstance(net, Graph):
            return whole
        return type(net).of(whole, self._examples(self.steps[chain[-1]]))

    def _difference(self, chain: Chain) -> float | None:
        """Return how far an export is from its network on the test split; None: no export.

        Raises:
            RunError: further than its tolerance.
        """
        step, context = self.steps[chain[-1]], self.context
        if not step.tolerance:
            return None
        said, asked = (
            predict_logits(self._net(one), context.splits.test, context.info)
            for one in (chain, chain[:-1])
        )
        found = logit_difference(asked, said)
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

    def _title(self, chain: Chain) -> str:
        return f"{self.origin.name} + {' + '.join(chain)}"


def _peak_memory_mib(net: nn.Module, inputs: Tensor) -> float | None:
    """Count the memory of one inference; None where another runtime than torch holds it."""
    weights = net.weights if isinstance(net, Graph) else weights_of(net)
    return None if weights is None else peak_with_mib(net, inputs, list(plain(weights)))
