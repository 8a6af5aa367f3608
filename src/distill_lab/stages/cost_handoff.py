"""What stage 6 found of the cost of running each network, and what follows from the price list."""

from __future__ import annotations

from dataclasses import dataclass

from distill_lab.measure.energy import Energy, PowerSource
from distill_lab.measure.price import Bill, per_million, saving, usd_per_hour, yearly
from distill_lab.measure.timing import Latency, Throughput
from distill_lab.settings import Price

PYTORCH = "PyTorch"
"""What runs a network that is not exported."""


@dataclass(frozen=True)
class RunningCost:
    """One network, as one runtime runs it.

    Attributes:
        name: of its row, or of the variant.
        runtime: what runs it.
        on_gpu: where it was timed.
        latency: at batch size 1; None: it could not be exported.
        throughput: by batch size, ascending.
        energy: at the largest batch size; None where it was not told.
        missing: why something is missing; "" for nothing.
        file_bytes: of the file that holds it for that runtime; None where there is none.
    """

    name: str
    runtime: str
    on_gpu: bool
    latency: Latency | None
    throughput: list[Throughput]
    energy: Energy | None
    missing: str = ""
    file_bytes: int | None = None


@dataclass(frozen=True)
class Training:
    """A training of stage 5.

    Attributes:
        name: of its network's row.
        seconds: wall time, validation included.
    """

    name: str
    seconds: float


@dataclass(frozen=True)
class RunningCosts:
    """All networks of a report, and the price list.

    Attributes:
        networks: by PyTorch, by ONNX Runtime if that was asked for, then compressed ones.
        price: what money and electricity are reckoned by.
        threads: of the CPU, of both runtimes.
        source: where energy comes from; None where none was told.
        no_energy: why none was told; "" where it was.
        trainings: of the control and of the distilled student.
    """

    networks: list[RunningCost]
    price: Price
    threads: int
    source: PowerSource | None
    no_energy: str
    trainings: list[Training]

    def of(self, name: str) -> RunningCost:
        """Return a network, as PyTorch runs it."""
        return next(one for one in self.networks if (one.name, one.runtime) == (name, PYTORCH))

    def bill(self, one: RunningCost) -> Bill | None:
        """Return the bill of a million inferences at the largest batch size; None: not timed."""
        if not one.throughput:
            return None
        hourly = usd_per_hour(self.price, one.on_gpu, self.threads)
        energy = one.energy
        joules, grams = (energy.joules, energy.grams_per_kwh) if energy else (None, None)
        return per_million(self.price, hourly, one.throughput[-1].per_second, joules, grams)

    def yearly_bill(self, one: RunningCost) -> Bill | None:
        """Return the bill of a year at the load of the price list."""
        bill = self.bill(one)
        return None if bill is None else yearly(bill, self.price)

    def yearly_saving(self, before: RunningCost, after: RunningCost) -> Bill | None:
        """Return what a year is cheaper by, at the load of the price list."""
        bills = self.yearly_bill(before), self.yearly_bill(after)
        return None if bills[0] is None or bills[1] is None else saving(bills[0], bills[1])

    def training_joules(self, training: Training) -> float | None:
        """Estimate a training's energy: as much power as inference takes, for its seconds."""
        energy = self.of(training.name).energy
        return None if energy is None else energy.watts * training.seconds

    @property
    def tags(self) -> dict[str, str]:
        """Say what the metrics of energy are."""
        return {"energy": self.source.word if self.source else f"none: {self.no_energy}"}

    def metrics(self, student: str, teacher: str) -> dict[str, float]:
        """Return the few numbers by which runs are compared; what was not told is left out."""
        ours, theirs = self.of(student), self.of(teacher)
        saved = self.yearly_saving(theirs, ours)
        found = {"cost/yearly_saving_usd": None if saved is None else saved.usd}
        for end, one in (("", ours), ("_teacher", theirs)):
            bill, latency, energy = self.bill(one), one.latency, one.energy
            speed = one.throughput[-1].per_second if one.throughput else None
            found |= {
                f"cost/latency_p99_ms{end}": latency.p99_ms if latency else None,
                f"cost/throughput{end}": speed,
                f"cost/energy_j{end}": energy.joules if energy else None,
                f"cost/usd_per_million{end}": bill.usd if bill else None,
            }
        return {key: value for key, value in found.items() if value is not None}
