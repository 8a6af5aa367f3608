"""What only making the parts can tell, before any run is created; all on meta tensors."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from distill_lab.contracts import Component, DataInfo
from distill_lab.measure.budget import limits, nearest_miss
from distill_lab.measure.cost import Cost, count_macs, count_parameters, size_bytes
from distill_lab.settings import Design
from distill_lab.training.connect import connected_objective


def problems(
    data: Component,
    teachers: tuple[Component, ...],
    students: tuple[Component, ...],
    loss: dict[str, Component],
    design: Design,
    budget: bool = True,
) -> list[str]:
    """Make dataset, networks and losses; connect them; hold the students against the budget.

    Args:
        data: the dataset; it is made, not loaded.
        teachers: points of the teacher's grid.
        students: points of the student's grid.
        loss: term name -> loss.
        design: the budget.
        budget: False leaves the budget out.

    Returns:
        One sentence per problem, each naming its dotted key.
    """
    try:
        info: DataInfo = data.make().info
    except ValueError as error:
        return [f"data.{error}"]
    made = {
        slot: [_network(slot, component, info) for component in components]
        for slot, components in (("teacher", teachers), ("student", students))
    }
    found = [item for nets in made.values() for item in nets if isinstance(item, str)]
    nets = {slot: [n for n in made[slot] if isinstance(n, nn.Module)] for slot in made}
    if found or not all(nets.values()):
        return list(dict.fromkeys(found + list(_problems_of_ranges(loss))))
    found += _problems_of_loss(loss, nets["student"], nets["teacher"], info)
    if budget:
        found += _problems_of_budget(design, students, nets["student"], nets["teacher"], info)
    return list(dict.fromkeys(found))


def _network(slot: str, component: Component, info: DataInfo) -> nn.Module | str:
    try:
        with torch.device("meta"):
            return component.make_network(info)
    except ValueError as error:
        return f"{slot}.{error}"


def _problems_of_ranges(loss: dict[str, Component]) -> Iterator[str]:
    for name, component in loss.items():
        try:
            component.make()
        except ValueError as error:
            yield f"loss.{name}.{error}"


def _problems_of_loss(
    loss: dict[str, Component], students: list[nn.Module], teachers: list[nn.Module], info: DataInfo
) -> Iterator[str]:
    ranges = list(_problems_of_ranges(loss))
    if ranges:
        yield from ranges
        return
    for student in students:
        try:
            with torch.device("meta"):
                connected_objective(loss, student, teachers, info.input_shape, 1, seed=0)
        except ValueError as error:
            yield str(error)


def _problems_of_budget(
    design: Design,
    students: tuple[Component, ...],
    nets: list[nn.Module],
    teachers: list[nn.Module],
    info: DataInfo,
) -> Iterator[str]:
    """Hold the students against the largest teacher; latency is left to stage 3."""
    costs = {
        component.label: _static_cost(net, info)
        for component, net in zip(students, nets, strict=True)
    }
    largest = max((_static_cost(net, info) for net in teachers), key=lambda cost: cost.parameters)
    allowed = limits(design, largest, has_grid=len(students) > 1)
    if all(allowed.misses(cost) for cost in costs.values()):
        yield f"design: {nearest_miss(costs, allowed)}"


def _static_cost(net: nn.Module, info: DataInfo) -> Cost:
    """Return what needs no measuring; latency and memory are 0."""
    macs = count_macs(net, info.input_shape)
    return Cost(count_parameters(net), macs, size_bytes(net), 0.0, 0.0, 0.0)
