"""What a million inferences cost, and a year of them."""

from __future__ import annotations

from dataclasses import dataclass

from distill_lab.measure.energy import JOULES_PER_KWH
from distill_lab.settings import Price

DAYS = 365  # of a year
MILLION = 1_000_000


@dataclass(frozen=True)
class Bill:
    """Of some number of inferences.

    Attributes:
        usd: money, in the currency of the prices.
        kwh: electricity; None where no energy was told.
        kg: CO2 equivalent of the electricity, kilograms; None likewise.
    """

    usd: float
    kwh: float | None
    kg: float | None


def usd_per_hour(price: Price, on_gpu: bool, threads: int) -> float:
    """Return the price of the machine while it computes: a GPU, or as many cores as threads."""
    return price.usd_per_gpu_hour if on_gpu else threads * price.usd_per_cpu_hour


def per_million(
    price: Price,
    hourly: float,
    per_second: float,
    joules: float | None,
    grams_per_kwh: float | None,
) -> Bill:
    """Return the bill of a million inferences on a machine that does nothing else.

    Args:
        price: of electricity.
        hourly: price of the machine.
        per_second: inferences, > 0.
        joules: of one inference; None: not told, and then electricity is not on the bill.
        grams_per_kwh: CO2 of the electricity; None where `joules` is.
    """
    usd = hourly * MILLION / per_second / 3600
    if joules is None or grams_per_kwh is None:
        return Bill(usd, None, None)
    kwh = joules * MILLION / JOULES_PER_KWH
    return Bill(usd + kwh * price.usd_per_kwh, kwh, kwh * grams_per_kwh / 1000)


def yearly(of_a_million: Bill, price: Price) -> Bill:
    """Return the bill of a year at the load of the price list."""
    return _times(of_a_million, DAYS * price.inferences_per_day / MILLION)


def saving(before: Bill, after: Bill) -> Bill:
    """Return what is saved; negative where more is spent."""
    return Bill(before.usd - after.usd, _minus(before.kwh, after.kwh), _minus(before.kg, after.kg))


def repaid_after(training: float, before: float, after: float) -> float | None:
    """Return how many inferences save what a training took; None where none does.

    Args:
        training: joules.
        before: joules of one inference, of the network that is replaced.
        after: joules of one inference, of the network that was trained.
    """
    return training / (before - after) if before > after else None


def _times(bill: Bill, factor: float) -> Bill:
    kwh, kg = (None if one is None else factor * one for one in (bill.kwh, bill.kg))
    return Bill(factor * bill.usd, kwh, kg)


def _minus(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else before - after
