"""The section on cost: time, energy and money of each network, and what the student saves."""

from __future__ import annotations

from distill_lab.measure.energy import JOULES_PER_KWH
from distill_lab.measure.price import repaid_after
from distill_lab.report import plots
from distill_lab.report.html import Section
from distill_lab.report.tables import Cell, format_value
from distill_lab.stages.cost_handoff import PYTORCH, RunningCost, RunningCosts, Training
from distill_lab.stages.report_handoff import DISTILLED, TEACHER, Report, Row, Variant

Line = dict[str, Cell]
BUSY = 0.7  # of the median speed; a network that ran slower while its energy was told was held up


def cost(report: Report) -> list[Section]:
    """Return the section; none in reports that did not look."""
    running = report.running
    if running is None:
        return []
    names = _names(running)
    return [
        Section(
            "Cost of running",
            text=(*_assumptions(running), *_savings(running), *_busy(running), *_missing(running)),
            tables=tuple(
                table
                for table in (
                    [_time(names[n], one) for n, one in enumerate(running.networks)],
                    [_speed(names[n], one) for n, one in enumerate(running.networks)],
                    [_money(running, names[n], one) for n, one in enumerate(running.networks)],
                    _trainings(running),
                )
                if table
            ),
            figures=_figures(report, running),
        )
    ]


def _names(running: RunningCosts) -> list[str]:
    """Return what the networks are called in tables."""
    rows = {one.name for one in running.networks if one.runtime == PYTORCH}
    return [
        f"{one.name}, {one.runtime}" if one.name in rows and one.runtime != PYTORCH else one.name
        for one in running.networks
    ]


def _time(name: str, one: RunningCost) -> Line:
    found = one.latency
    return {
        "batch 1": name,
        "on": "GPU" if one.on_gpu else "CPU",
        "p50 ms": found.p50_ms if found else None,
        "p90 ms": found.p90_ms if found else None,
        "p99 ms": found.p99_ms if found else None,
        "p25 to p75 ms": _span(found.p25_ms, found.p75_ms) if found else None,
        "KiB on disk": None if one.file_bytes is None else one.file_bytes / 1024,
    }


def _speed(name: str, one: RunningCost) -> Line:
    cells = {
        f"batch {at.batch_size}": f"{format_value(at.per_second)} ({_span(at.lower, at.upper)})"
        for at in one.throughput
    }
    return {"samples per second": name, **cells}


def _money(running: RunningCosts, name: str, one: RunningCost) -> Line:
    """Return the line of the power-and-price table."""
    teacher = running.of(TEACHER)
    saved = None if one is teacher else running.yearly_saving(teacher, one)
    a_million, year = running.bill(one), running.yearly_bill(one)
    return {
        f"at batch {_largest(running)}": name,
        "samples per second": one.throughput[-1].per_second if one.throughput else None,
        f"W{_told(running)}": one.energy.watts if one.energy else None,
        f"J each{_told(running)}": one.energy.joules if one.energy else None,
        "$ per million": a_million.usd if a_million else None,
        "kg CO2 per million": a_million.kg if a_million else None,
        "$ a year": year.usd if year else None,
        "$ a year saved": saved.usd if saved else None,
    }


def _trainings(running: RunningCosts) -> list[Line]:
    return [line for one in running.trainings if (line := _training(running, one)) is not None]


def _training(running: RunningCosts, training: Training) -> Line | None:
    """Return what a training took, and after how many inferences the student has saved it."""
    joules, energy = running.training_joules(training), running.of(training.name).energy
    teacher = running.of(TEACHER).energy
    if joules is None or energy is None or teacher is None:
        return None
    kwh = joules / JOULES_PER_KWH
    return {
        "training, estimated": training.name,
        "seconds": training.seconds,
        "kJ": joules / 1000,
        "g CO2": kwh * energy.grams_per_kwh,
        "saved by inferences": repaid_after(joules, teacher.joules, energy.joules),
    }


def _assumptions(running: RunningCosts) -> list[str]:
    price, size = running.price, _largest(running)
    where = "on the CPU"
    if any(one.on_gpu for one in running.networks):
        where = "on the GPU, exports and int8 on the CPU"
    threads = f"{running.threads} thread{'' if running.threads == 1 else 's'}"
    said = [
        f"Measured {where}, after a warm-up, with {threads} of the CPU for every runtime. "
        "p50, p90 and p99 are percentiles of single passes; half of all passes, and of the "
        "speeds in brackets, lie between the quartiles.",
    ]
    if running.source is None:
        said.append(f"No energy was told: {running.no_energy}")
    else:
        grams = next((o.energy.grams_per_kwh for o in running.networks if o.energy), None)
        whose = price.country or "the world"
        co2 = "" if grams is None else f" Electricity of {whose}: {grams:.4g} g CO2 per kWh."
        said.append(f"Energy is {running.source.word} by codecarbon: {running.source.how}.{co2}")
    said.append(
        f"Prices, all assumed: {price.usd_per_cpu_hour:g} $ per hour of a core, "
        f"{price.usd_per_gpu_hour:g} $ of a GPU, {price.usd_per_kwh:g} $ per kWh; "
        f"{price.inferences_per_day:,.0f} inferences a day, {size} at a time, on machines that "
        "are paid for while they compute. They are keys of the group price."
    )
    return said


def _savings(running: RunningCosts) -> list[str]:
    """Say what the student instead of the teacher saves in a year."""
    saved = running.yearly_saving(running.of(TEACHER), running.of(DISTILLED))
    if saved is None:
        return []
    said = [f"{_signed(saved.usd)} $"]
    if saved.kwh is not None and saved.kg is not None:
        said += [f"{_signed(saved.kwh)} kWh", f"{_signed(saved.kg)} kg CO2{_told(running)}"]
    return [f"A year of the student instead of the teacher: {', '.join(said)}."]


def _signed(saved: float) -> str:
    """Write what is saved as a change."""
    return f"{'-' if saved >= 0 else '+'}{format_value(abs(saved))}"


def _busy(running: RunningCosts) -> list[str]:
    """Warn of other work on the machine, which energy is too high by."""
    speeds = [
        one.energy.watts / one.energy.joules / one.throughput[-1].per_second
        for one in running.networks
        if one.energy is not None
    ]
    if min(speeds, default=1.0) >= BUSY:
        return []
    return [
        f"While energy was told, a network ran at {min(speeds):.0%} of its median speed: the "
        "machine had other work, and the energy is too high."
    ]


def _missing(running: RunningCosts) -> list[str]:
    return [one.missing for one in running.networks if one.missing]


def _told(running: RunningCosts) -> str:
    return f", {running.source.word}" if running.source else ""


def _largest(running: RunningCosts) -> int:
    return running.of(TEACHER).throughput[-1].batch_size


def _span(lower: float, upper: float) -> str:
    return f"{format_value(lower)} to {format_value(upper)}"


def _figures(report: Report, running: RunningCosts) -> tuple[tuple[plots.Figure, str], ...]:
    names = _names(running)
    timed = {names[n]: one for n, one in enumerate(running.networks) if one.throughput}
    sizes = [float(at.batch_size) for at in running.of(TEACHER).throughput]
    shown = []
    if len(sizes) > 1:
        curves = {name: [at.per_second for at in one.throughput] for name, one in timed.items()}
        figure = plots.lines(
            sizes, curves, "", "batch size", "samples per second", is_logarithmic=True
        )
        shown.append((figure, "Samples per second against how many are asked at once."))
    measured: list[Row | Variant] = [*report.rows, *report.variants]
    quality = {one.name: one.scores.quality for one in measured}
    points = [
        plots.Point(
            name=name,
            x=one.energy.joules,
            y=quality[one.name],
            kept=True,
            picked=name == DISTILLED,
        )
        for name, one in timed.items()
        if one.energy is not None
    ]
    if points:
        label = f"test {report.validation.compared_by.label}"
        figure = plots.trade_off(points, f"J per inference{_told(running)}", label, "")
        shown.append((figure, "What each network knows, and the energy of an answer."))
    return tuple(shown)
