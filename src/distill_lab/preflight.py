"""What only making the parts can tell, before any run is created; all on meta tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import nn

from distill_lab.compress.base import Step
from distill_lab.compress.order import check_order
from distill_lab.config.ranges import out_of_range
from distill_lab.contracts import Component, DataInfo, grid_labels, placeholder
from distill_lab.data.pretrained import ALL_MINILM
from distill_lab.data.tokens import NUM_PIECES
from distill_lab.losses.base import Loss
from distill_lab.measure.budget import limits, nearest_miss
from distill_lab.measure.cost import (
    Cost,
    count_macs,
    count_parameters,
    peak_memory_mib,
    size_bytes,
)
from distill_lab.measure.energy import NoMeterError, require_country
from distill_lab.models.copied_layers import copied
from distill_lab.models.published import TIMM, published
from distill_lab.models.reused_classifier import with_classifier_of
from distill_lab.models.start import minilm, start_encoder
from distill_lab.own_parts import is_own, made_by_own_code
from distill_lab.settings import (
    OF_NUMBERS,
    OF_WORDS,
    Design,
    Hardware,
    Price,
    Regime,
    Selection,
    Variants,
)
from distill_lab.training.connect import connected_objective
from distill_lab.training.strategies import problem_of_strategy

UNKNOWN = 1000  # stands for the size of the training split, which is not loaded
STUDENTS = "regime"  # path of the regime of stage 5
STAND_IN = DataInfo("unknown", (3, 224, 224), 10, (), (), ())
"""For networks whose dataset is wrong: a shape for which none is too deep."""


def problems(
    data: Component | None,
    teachers: tuple[Component, ...],
    students: tuple[Component, ...],
    loss: dict[str, Component],
    design: Design | None,
    regimes: dict[str, Regime],
    selection: Selection | None = None,
    budget: bool = True,
    compress: Mapping[str, Component] = MappingProxyType({}),
    variants: Variants | None = None,
    price: Price | None = None,
    hardware: Hardware | None = None,
) -> list[str]:
    """Make dataset, networks and losses; connect them; hold the students against the budget.

    What is None or empty is left out, so that one wrong part does not hide the faults of another.

    Args:
        data: the dataset; it is made, not loaded.
        teachers: points of the teacher's grid.
        students: points of the student's grid.
        loss: term name -> loss.
        design: what the students become, and their budget; without it the losses are made, but
            not connected.
        regimes: dotted key -> how networks are trained.
        selection: what teachers are or start from.
        budget: whether to hold the students against it.
        compress: step name -> step of compression.
        variants: in which chains, and of which networks.
        price: whose electricity it is.
        hardware: of the trainings; None: a trainer need not be made.

    Returns:
        One sentence per problem, each naming its dotted key.
    """
    dataset, found = (None, []) if data is None else _made("data", data)
    info: DataInfo = STAND_IN if dataset is None else dataset.info
    teacher_nets, wrong = _networks("teacher", teachers, info)
    student_nets, wrong_too = _networks("student", students, info)
    found += wrong + wrong_too
    found += [] if info is STAND_IN else _problems_of_regimes(regimes, info)
    if selection is not None and teacher_nets and info is not STAND_IN:
        found += _problems_of_teachers(selection, teacher_nets, info)
    strategy = None if hardware is None else problem_of_strategy(hardware)
    found += [] if strategy is None else [strategy]
    found += [] if price is None else _problems_of_country(price.country)
    found += _problems_of_terms(loss)
    found += _problems_of_labels(regimes, loss)
    found += _problems_of_few_labels(regimes, selection)
    if found or info is STAND_IN or not teachers or not students or design is None:
        return list(dict.fromkeys(found))
    cases = [Case(max(teacher_nets, key=count_parameters), teacher_nets, student_nets)]
    if design.reuse_classifier and info.of_students is not None:
        return ["design.reuse_classifier: must be false where students have rows of their own."]
    if design.reuse_classifier:
        try:
            cases = _reusing(teachers, students, teacher_nets, info)
        except ValueError as error:
            return [f"design.reuse_classifier: {error}"]
    if info.of_students is not None:
        found += _problems_of_own_rows(loss)
    found += _problems_of_start(design, cases)
    found += _problems_of_loss(loss, cases, info)
    if budget:
        found += _problems_of_budget(design, students, cases, info)
    if variants is not None:
        found += _problems_of_compress(compress, variants, cases, loss, info)
    return list(dict.fromkeys(found))


def _problems_of_regimes(regimes: dict[str, Regime], info: DataInfo) -> Iterator[str]:
    """Hold the classes that a training leaves out, and its augmentation, against the data."""
    last = info.num_classes - 1
    for path, regime in regimes.items():
        given = regime.leave_out_classes
        if any(number > last for number in given):
            yield f"{path}.leave_out_classes: must be numbers in [0, {last}], got {given}."
        elif len(given) > last:
            yield f"{path}.leave_out_classes: must leave a class of {info.name}, got {given}."
        elif len(given) == last and regime.label_noise:
            why = f"where one class of {info.name} is trained on"
            yield f"{path}.label_noise: must be 0 {why}, got {regime.label_noise}."
        of_images = OF_NUMBERS if info.vocabulary_size is not None else ()
        of_texts = OF_WORDS if info.hidden_id is None else ()
        refused = {
            "inputs are token ids": of_images,
            f"rows of {info.name} are not to be changed": of_texts,
        }
        for why, keys in refused.items():
            for key in keys:
                value = getattr(regime, key)
                if value:
                    off = "false" if value is True else 0
                    yield f"{path}.{key}: must be {off} where {why}, got {value}."


def _problems_of_country(country: str | None) -> Iterator[str]:
    """Hold a country against those whose electricity is known."""
    try:
        require_country(country)
    except NoMeterError as error:
        yield f"price.country: {error}"


def _problems_of_teachers(
    selection: Selection, teachers: Sequence[nn.Module], info: DataInfo
) -> Iterator[str]:
    if selection.weights is not None:
        yield from _problems_of_weights(selection.weights, teachers, info)
    if selection.pretrained == ALL_MINILM:  # what others are is known when they are loaded
        with torch.device("meta"):
            source = minilm(NUM_PIECES).state_dict()
        for net in teachers:
            try:
                start_encoder(net, source)
            except ValueError as error:
                yield f"selection.pretrained: {error} It is for architecture@teacher=minilm."


def _problems_of_weights(name: str, teachers: Sequence[nn.Module], info: DataInfo) -> Iterator[str]:
    """Hold published weights against the teacher that gets them and the inputs that it gets."""
    key = "selection.weights"
    try:
        weights = published(name)
    except ValueError as error:
        yield f"{key}: {error}"
        return
    counts = [count_parameters(net) for net in teachers]
    wanted = name.removeprefix(TIMM).partition(".")[0] if name.startswith(TIMM) else None
    if any(getattr(net, "name", None) != wanted for net in teachers):
        right = f"timm teacher.name={wanted}" if wanted else "one of torchvision's"
        yield f"{key}: {name} is of another network. Take architecture@teacher={right}."
    elif counts != [weights.num_parameters]:
        given = " and ".join(f"{count:,}" for count in counts)
        yield (
            f"{key}: {name} has {weights.num_parameters:,} parameters for {weights.num_classes} "
            f"classes; the teacher on {info.name} has {given}. Choose the architecture and the "
            f"size of inputs that they are named after, and data of {weights.num_classes} classes."
        )
    if (info.mean, info.std) != (weights.mean, weights.std):
        yield (
            f"{key}: {name} reads inputs normalised by mean {weights.mean} and std {weights.std}; "
            f"those of {info.name} are {info.mean} and {info.std}. Set data.mean and data.std."
        )


class Case(NamedTuple):
    """Networks that may come together.

    Attributes:
        best: the teacher that the budget refers to.
        teachers: all of them.
        students: as they are deployed.
    """

    best: nn.Module
    teachers: list[nn.Module]
    students: list[nn.Module]


def _problems_of_start(design: Design, cases: Sequence[Case]) -> Iterator[str]:
    """Copy the teacher's layers into every student, without memory."""
    layers = design.copy_layers
    if layers is None:
        return
    for case in cases:
        for teacher, student in product(case.teachers, case.students):
            try:
                copied(student, teacher, layers)
            except ValueError as error:
                yield f"design.{error}"


def _reusing(
    teachers: Sequence[Component],
    students: Sequence[Component],
    nets: list[nn.Module],
    info: DataInfo,
) -> list[Case]:
    """Let each teacher in turn be the best, whose classifier the students reuse.

    Raises:
        ValueError: a network has no classifier that can be reused or replaced.
    """
    cases = []
    for teacher, net in zip(teachers, nets, strict=True):
        with torch.device("meta"):
            made = [with_classifier_of(teacher, student).make_network(info) for student in students]
        cases.append(Case(net, [net, *(other for other in nets if other is not net)], made))
    return cases


def _made(path: str, component: Component, **extra: Any) -> tuple[Any, list[str]]:
    """Make a part on the meta device; return it, or None and what is wrong with it."""
    if is_own(component):
        return made_by_own_code(path, component, None)
    made: list[Any] = []

    def make(args: dict[str, Any]) -> None:
        with torch.device("meta"):
            made.append(Component(component.target, args).make(**extra))

    found = list(out_of_range(path, component.target, component.args, make))
    return (None if found else made[0]), found


def _networks(
    slot: str, components: tuple[Component, ...], info: DataInfo
) -> tuple[list[nn.Module], list[str]]:
    nets, found = [], []
    for component in components:
        if is_own(component):
            if info is not STAND_IN:
                own, wrong = made_by_own_code(slot, component, info)
                nets += [] if own is None else [own]
                found += wrong
            continue
        try:
            supplied = component.supplied(info)
        except ValueError as error:
            found.append(f"{slot}.{error}")
            continue
        net, wrong = _made(slot, component, **supplied)
        found += wrong
        if isinstance(net, nn.Module):
            nets.append(component.reading(net, info))
        elif not wrong:
            found.append(f"{slot}._target_: must be a network, got {component.target!r}.")
    return nets, found


def _problems_of_terms(loss: dict[str, Component]) -> Iterator[str]:
    for name, component in loss.items():
        term, wrong = _made(f"loss.{name}", component)
        yield from wrong
        if not wrong and not isinstance(term, Loss):
            yield f"loss.{name}._target_: must be a loss term, got {component.target!r}."
        if hasattr(nn.ModuleDict, name):
            yield f"loss.{name}: torch keeps this word for itself; give the term another name."


def _problems_of_labels(regimes: dict[str, Regime], loss: dict[str, Component]) -> Iterator[str]:
    """Refuse what would read labels that are said not to be there."""
    for path, regime in regimes.items():
        labels, samples = regime.num_labels, regime.num_samples
        if labels is None:
            continue
        if path != STUDENTS:
            yield f"{path}.num_labels: must be null, as teachers learn of labels; set num_samples."
            continue
        if samples is not None and labels > samples:
            yield f"{path}.num_labels: must be <= num_samples, {samples}, got {labels}."
        for name, component in loss.items():
            if _reads_labels(component):
                why = f"where loss.{name} reads labels"
                yield f"{path}.num_labels: must be null {why}, got {labels}."


def _problems_of_few_labels(
    regimes: dict[str, Regime], selection: Selection | None
) -> Iterator[str]:
    """Refuse teachers that are trained on more labels than there are said to be."""
    students, teachers = regimes.get(STUDENTS), regimes.get(f"selection.{STUDENTS}")
    trained = selection is not None and selection.from_run is None and selection.weights is None
    if students is None or teachers is None or students.num_labels is None or not trained:
        return
    given = teachers.num_samples
    if given is None or given > students.num_labels:
        shown = "null" if given is None else given
        most = f"regime.num_labels, {students.num_labels}"
        yield f"selection.regime.num_samples: must be <= {most}, the labels there are, got {shown}."


def _reads_labels(component: Component) -> bool:
    """Tell whether a term reads labels; of own code, unless it says that it does not."""
    term = component.imported
    says_nothing = is_own(component) and "reads_labels" not in vars(term)
    return says_nothing or getattr(term, "reads_labels", False)


def _problems_of_loss(
    loss: dict[str, Component], cases: list[Case], info: DataInfo
) -> Iterator[str]:
    pairs = [(student, case.teachers) for case in cases for student in case.students]
    for student, teachers in pairs if loss else ():
        try:
            with torch.device("meta"):
                connected_objective(loss, student, teachers, info.input_shape, UNKNOWN, seed=0)
        except ValueError as error:
            yield str(error)


def _problems_of_own_rows(loss: dict[str, Component]) -> Iterator[str]:
    """Refuse terms that compare networks word by word where each reads words of its own."""
    for name, component in loss.items():
        if getattr(component.imported, "aligns_tokens", False):
            yield (
                f"loss.{name}: compares student and teacher word by word, and students have rows "
                "of their own. Set data.student_words=null, or take another loss."
            )


def _problems_of_compress(
    compress: Mapping[str, Component],
    variants: Variants,
    cases: list[Case],
    loss: dict[str, Component],
    info: DataInfo,
) -> Iterator[str]:
    """Hold the steps against each other, the networks that they treat and what trains these."""
    steps: dict[str, Step] = {}
    for name, component in compress.items():
        step, wrong = _made(f"compress.{name}", component)
        yield from wrong
        if isinstance(step, Step):
            steps[name] = step
        elif not wrong:
            yield f"compress.{name}._target_: must be a step, got {component.target!r}."
    if len(steps) < len(compress):
        return
    for chain in variants.wanted(steps):
        try:
            check_order({name: steps[name] for name in chain})
        except ValueError as error:
            yield f"{'compress' if variants.chains is None else 'variants.chains'}: {error}"
    slots = {"teacher": [net for case in cases for net in case.teachers]}
    slots["student"] = slots["control"] = [net for case in cases for net in case.students]
    for name, step in steps.items():
        refused = {}
        for slot in variants.of:
            refusals = [_refusal(step, net, info) for net in slots[slot]]
            if all(refusals):
                refused[slot] = refusals[0]
        others = [slot for slot in variants.of if slot not in refused]
        instead = f" Or leave it out: variants.of=[{','.join(others)}]." if others else ""
        for slot, refusal in refused.items():
            yield f"compress.{name}: of the {slot}: {refusal}{instead}"
        if step.epochs and step.gives == "float" and "student" in others:
            yield from _problems_of_training(name, step, loss, cases, info)


def _refusal(step: Step, net: nn.Module, info: DataInfo) -> str | None:
    """Return why a step cannot treat a network; None where it can."""
    try:
        step.check(net, placeholder(net, info.input_shape, 2))
    except ValueError as error:
        return str(error)
    return None


def _problems_of_training(
    name: str, step: Step, loss: dict[str, Component], cases: list[Case], info: DataInfo
) -> Iterator[str]:
    """Connect the loss terms to the students as the step's last training has them."""
    for case in cases:
        for net in case.students:
            try:
                begun = step.begin(net, placeholder(net, info.input_shape, 2), step.rounds - 1)
                with torch.device("meta"):
                    connected_objective(loss, begun, case.teachers, info.input_shape, UNKNOWN, 0)
            except ValueError as error:
                yield f"compress.{name}: in its training: {error}"


def _problems_of_budget(
    design: Design, students: tuple[Component, ...], cases: list[Case], info: DataInfo
) -> Iterator[str]:
    """Hold the students against the best teacher; in one case at least one of them must pass.

    Latency is left to stage 3.
    """
    for case in cases:
        costs = {
            label: _static_cost(net, info, design)
            for label, net in zip(grid_labels(students), case.students, strict=True)
        }
        allowed = limits(design, _static_cost(case.best, info, design), len(students) > 1)
        if not all(allowed.misses(cost) for cost in costs.values()):
            return
    yield f"design: {nearest_miss(costs, allowed)}"


def _static_cost(net: nn.Module, info: DataInfo, design: Design) -> Cost:
    """Return what can be counted; latency is 0, and so is what the design does not limit.

    A forward pass of meta tensors imports the compiler of torch, which takes a second.
    """
    shape = info.input_shape
    macs = 0 if design.max_macs_fraction is None else count_macs(net, shape)
    memory = 0.0 if design.max_memory_mib is None else peak_memory_mib(net, shape)
    return Cost(count_parameters(net), macs, size_bytes(net), 0.0, 0.0, memory)
