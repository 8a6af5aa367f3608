"""Energy of a computation by codecarbon, without network, files or output of its own."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from distill_lab.errors import nearest

JOULES_PER_KWH = 3.6e6
_SILENT = "critical"
_COUNTERS = {
    "CPU(Intel Rapl)": "by RAPL",
    "CPU(Windows Emi)": "by RAPL, as Windows tells it",
    "CPU(Intel Power Gadget)": "by Power Gadget",
    "AppleSiliconChip": "by powermetrics",
}
"""How codecarbon describes a CPU with a counter of energy, and how we do."""


class NoMeterError(Exception):
    """Energy cannot be told on this machine; the message says why."""


@dataclass(frozen=True)
class Energy:
    """What one call of a function took.

    Attributes:
        joules: of one call.
        watts: while it was called again and again.
        grams_per_kwh: CO2 of the electricity, grams of CO2 equivalent per kWh.
    """

    joules: float
    watts: float
    grams_per_kwh: float


@dataclass(frozen=True)
class PowerSource:
    """Where numbers of energy come from.

    Attributes:
        how: of each part of the machine, for people.
        is_measured: whether the CPU has a counter of energy; otherwise all but a GPU is estimated.
    """

    how: str
    is_measured: bool

    @property
    def word(self) -> str:
        """One word for tables and tags."""
        return "measured" if self.is_measured else "estimated"


class EnergyMeter:
    """Counts the energy of CPU and memory, and of a GPU that is computed on.

    Without a counter in the CPU, codecarbon multiplies its rated power with the share of it that
    this process and its children use.

    Args:
        country: ISO code of three letters, whose electricity it is; None: the world's average.

    Attributes:
        source: what its numbers are.

    Raises:
        NoMeterError: codecarbon cannot work here, or does not know the country.
    """

    def __init__(self, country: str | None) -> None:
        require_country(country)
        try:
            self._tracker = _tracker(country)
            self._tracker.start_task("hardware")  # looks at the machine, which takes a second
            self._tracker.stop_task("hardware")
            self.source = _source([part.description() for part in self._tracker._hardware])
        except Exception as error:  # it reads files, drivers and programs of an unknown machine
            raise NoMeterError(f"codecarbon: {type(error).__name__}: {error}") from error

    def read(self, ask: Callable[[], object], seconds: float, on_gpu: bool = False) -> Energy:
        """Call a function again and again for so long, at least once.

        Args:
            ask: returns when its work is done, on a GPU too.
            seconds: > 0.
            on_gpu: whether it computes there; otherwise what an idle GPU takes is left out.

        Raises:
            NoMeterError: codecarbon counted nothing.
        """
        self._tracker.start_task()
        start, calls, passed = time.perf_counter(), 0, 0.0
        while passed < seconds:
            ask()
            calls, passed = calls + 1, time.perf_counter() - start
        found = self._tracker.stop_task()
        if found is None or found.energy_consumed <= 0:
            raise NoMeterError("codecarbon counted no energy.")
        kwh = found.cpu_energy + found.ram_energy + (found.gpu_energy if on_gpu else 0)
        joules = JOULES_PER_KWH * kwh
        grams_per_kwh = 1000 * found.emissions / found.energy_consumed
        return Energy(joules / calls, joules / passed, grams_per_kwh)


def require_country(country: str | None) -> None:
    """Ask codecarbon's table of the world's electricity for a country.

    Raises:
        NoMeterError: it has no such country.
    """
    if country is None:
        return
    from codecarbon.input import DataSource

    known = DataSource().get_global_energy_mix_data()
    if country not in known:
        raise NoMeterError(
            f"codecarbon knows no country {country!r}.{nearest(country, known)} "
            "null is the world's average."
        )


def _tracker(country: str | None) -> Any:
    """Return a tracker whose every way out is shut, whatever a config of codecarbon's says."""
    from codecarbon import OfflineEmissionsTracker

    logging.getLogger("codecarbon").setLevel(_SILENT.upper())  # it talks before it reads log_level
    return OfflineEmissionsTracker(
        country_iso_code=country,
        region=None,
        cloud_provider=None,
        cloud_region=None,
        electricitymaps_api_token="",  # a token would be used to ask a server
        emissions_endpoint=None,
        output_methods=[],
        output_dir=tempfile.gettempdir(),  # some meters keep a log there
        tracking_mode="process",  # other jobs on the machine are not ours
        allow_multiple_runs=True,  # otherwise it takes over Ctrl-C and locks the machine
        log_level=_SILENT,
    )


def _source(parts: Sequence[str]) -> PowerSource:
    """Return what codecarbon's descriptions of the parts of a machine say of its numbers."""
    counter = next((how for name, how in _COUNTERS.items() for p in parts if name in p), None)
    by_load = "estimated from the load that this process puts on it and its rated power"
    how = [f"CPU {'measured, as a whole, ' + counter if counter else by_load}"]
    how.append("memory estimated from its size")
    if any("GPU" in part for part in parts):
        how.append("GPU, where it computes, measured by its driver")
    return PowerSource("; ".join(how), counter is not None)
