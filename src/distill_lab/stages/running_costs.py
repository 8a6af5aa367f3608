"""Stage 6: how fast each network answers, and what its answers take in energy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial

import torch
from torch import Tensor, nn

from distill_lab.compress.onnx_graph import OnnxGraph
from distill_lab.contracts import placeholder
from distill_lab.data.normalise import normalise
from distill_lab.measure.energy import Energy, EnergyMeter, NoMeterError
from distill_lab.measure.modes import evaluating
from distill_lab.measure.timing import (
    Latency,
    latencies_on,
    latency,
    synchronize,
    throughput,
)
from distill_lab.stages.context import Context
from distill_lab.stages.cost_handoff import PYTORCH, RunningCost, RunningCosts, Training
from distill_lab.training.device import device_of

TRACED = 4  # samples that an export is traced with


@dataclass(frozen=True)
class Asked:
    """A network that is asked for its cost.

    Attributes:
        like: tells what inputs look like; the network itself, or what it was made of.
        latency: measured before.
        on_cpu: whether it can run nowhere else, as what was exported or has int8 weights.
        file_bytes: of the file that holds it for that runtime.
    """

    name: str
    net: nn.Module
    like: nn.Module
    latency: Latency
    runtime: str = PYTORCH
    on_cpu: bool = False
    file_bytes: int | None = None


@contextmanager
def on_device(context: Context, net: nn.Module) -> Iterator[torch.device]:
    """Move a network to the device of the run for a while."""
    device = device_of(context.parts.hardware)
    net.to(device)
    try:
        yield device
    finally:
        net.cpu()


def device_latency(context: Context, net: nn.Module) -> Latency:
    """Time a network at batch size 1 on the device of the run."""
    with on_device(context, net):
        return latency(net, context.info.input_shape, context.parts.evaluation.latency_repeats)


def running_costs(
    context: Context,
    rows: Sequence[Asked],
    variants: Sequence[Asked],
    trainings: Sequence[Training],
) -> RunningCosts:
    """Measure throughput and energy of the report's networks, and time their exports.

    Args:
        context: of stage 6.
        rows: uncompressed networks; these are exported where that is asked for.
        variants: compressed ones.
        trainings: of stage 5.
    """
    parts = context.parts
    meter, no_energy = _meter(context)
    measure = partial(_measured, context, meter)
    networks = [measure(one) for one in rows]
    for one in rows if parts.evaluation.time_onnx else ():
        try:
            networks.append(measure(_exported(context, one)))
        except ValueError as error:
            why = f"{one.name} by {OnnxGraph.runtime}: {error}"
            networks.append(RunningCost(one.name, OnnxGraph.runtime, False, None, [], None, why))
    networks += [measure(one) for one in variants]
    found = RunningCosts(
        networks,
        parts.price,
        torch.get_num_threads(),
        meter.source if meter else None,
        no_energy,
        list(trainings),
    )
    context.run.set_tags(found.tags)
    return found


def _meter(context: Context) -> tuple[EnergyMeter | None, str]:
    """Return a meter, or why there is none."""
    if context.parts.evaluation.energy_seconds == 0:
        return None, "evaluation.energy_seconds is 0."
    try:
        return _meter_of(context.parts.price.country), ""
    except NoMeterError as error:
        return None, str(error)


@cache
def _meter_of(country: str | None) -> EnergyMeter:
    """Keep a meter for the next jobs of this process: to make one takes seconds."""
    return EnergyMeter(country)


def _measured(context: Context, meter: EnergyMeter | None, asked: Asked) -> RunningCost:
    if asked.on_cpu:
        return _measured_on(torch.device("cpu"), context, meter, asked)
    with on_device(context, asked.net) as device:
        return _measured_on(device, context, meter, asked)


def _measured_on(
    device: torch.device, context: Context, meter: EnergyMeter | None, asked: Asked
) -> RunningCost:
    evaluation, shape = context.parts.evaluation, context.info.input_shape
    batches = [placeholder(asked.like, shape, size).to(device) for size in evaluation.batch_sizes]
    found = [throughput(asked.net, batch, evaluation.throughput_seconds) for batch in batches]
    cost = RunningCost(
        asked.name,
        asked.runtime,
        device.type != "cpu",
        asked.latency,
        found,
        energy=None,
        file_bytes=asked.file_bytes,
    )
    if meter is None:
        return cost
    try:
        energy = _energy(meter, asked.net, batches[-1], evaluation.energy_seconds)
    except NoMeterError as error:
        return replace(cost, missing=f"{asked.name}: {error}")
    return replace(cost, energy=energy)


def _energy(meter: EnergyMeter, net: nn.Module, batch: Tensor, seconds: float) -> Energy:
    """Return the energy of one inference among those of a batch."""

    def ask() -> None:
        net(batch)
        synchronize(batch)

    with evaluating(net), torch.inference_mode():
        found = meter.read(ask, seconds, on_gpu=batch.device.type != "cpu")
    return replace(found, joules=found.joules / len(batch))


def _exported(context: Context, asked: Asked) -> Asked:
    """Return the network as ONNX Runtime runs it, timed at batch size 1.

    Raises:
        ValueError: it cannot be exported.
    """
    inputs = context.splits.train.inputs[torch.arange(TRACED)]
    graph = OnnxGraph.of(asked.net, normalise(inputs, context.info))
    single = placeholder(asked.like, context.info.input_shape, 1)
    repeats = context.parts.evaluation.latency_repeats
    timed = latencies_on([graph], single, repeats)[0]
    size = len(graph.content)
    return Asked(asked.name, graph, asked.like, timed, graph.runtime, on_cpu=True, file_bytes=size)
