"""`python -m bench [sections] [--quick | --tables]`: measure, keep, and write docs/speed.md anew.

A section that is measured again replaces only its own results in docs/speed.json, and has its own
environment there; the one of the pairs is also kept at the top.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any

from bench import machine
from bench.targets import judge
from bench.workers import ROOT, SCRATCH

SECTIONS = {
    "pairs": "bench.pairs:measure",
    "startup": "bench.startup:measure",
    "sweep": "bench.sweeps:measure_sweep",
    "parallel": "bench.sweeps:measure_parallel",
    "scaling": "bench.scaling:measure",
}
DOCS = ROOT / "docs"
QUICK_DOCS = SCRATCH / "quick"


def main(arguments: list[str] | None = None) -> int:
    """Run the sections that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("sections", nargs="*", help=f"of {', '.join(SECTIONS)}; none: all")
    parser.add_argument("--quick", action="store_true", help=f"see that it runs; in {QUICK_DOCS}")
    parser.add_argument("--tables", action="store_true", help="measure nothing, write the page")
    given = parser.parse_args(arguments)
    wrong = [name for name in given.sections if name not in SECTIONS]
    if wrong:
        parser.error(f"there is no section {', '.join(wrong)}; there are {', '.join(SECTIONS)}.")
    SCRATCH.mkdir(exist_ok=True)
    docs = _quick_docs() if given.quick else DOCS
    if not given.tables:
        _complain_of_others()
        for name in given.sections or SECTIONS:
            measure(name, docs / "speed.json", given.quick)
    write_page(docs)
    return 0


def measure(name: str, path: Path, quick: bool) -> None:
    """Measure one section and put it into the results, which are kept at once."""
    print(f"{name}", flush=True)
    module, _, function = SECTIONS[name].partition(":")
    run: Callable[[bool], dict[str, Any]] = getattr(import_module(module), function)
    before = machine.others_now()
    start, watch = perf_counter(), machine.Watch()
    measured = run(quick)
    about = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": machine.commit(),
        "seconds": perf_counter() - start,
        "others_before": before,
        "others_during": watch.others(),
        "quick": quick,
        "environment": machine.environment(),
    }
    results = read(path)
    results[name] = measured
    sections = results.setdefault("sections", {})
    sections[name] = about
    results["environment"] = sections.get("pairs", about)["environment"]
    results["targets"] = judge(results)
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> dict[str, Any]:
    """Return the results so far."""
    if not path.exists():
        return {}
    results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return results


def write_page(docs: Path) -> None:
    """Write tables and pictures from the results that are kept."""
    from bench.plots import save
    from bench.tables import filled

    results, page = read(docs / "speed.json"), docs / "speed.md"
    page.write_text(filled(page.read_text(encoding="utf-8"), results), encoding="utf-8")
    save(results, docs / "pictures")
    missed = [row["what"] for row in results.get("targets", []) if not row["met"]]
    print(f"{page}: {len(results.get('targets', []))} targets, {len(missed)} missed", flush=True)
    for what in missed:
        print(f"  missed: {what}", flush=True)


def _quick_docs() -> Path:
    """Return a folder for trial results, so that no measured one is overwritten."""
    (QUICK_DOCS / "pictures").mkdir(parents=True, exist_ok=True)
    shutil.copy(DOCS / "speed.md", QUICK_DOCS)
    return QUICK_DOCS


def _complain_of_others() -> None:
    busy = machine.others_now()
    if busy > machine.QUIET_CORES:
        print(f"This machine is not quiet: other programs keep {busy:.2f} cores busy.", flush=True)


if __name__ == "__main__":
    sys.exit(main())
