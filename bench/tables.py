"""The results as Markdown, and put in their places in a page."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from statistics import median
from typing import Any

from bench.layout import NUM_SAMPLES, imagenet
from bench.pairs import LOOPS, ratios_of

LOOP_NAMES = {
    "bare_student": "bare loop, student only",
    "bare_kd": "bare loop, student and teacher",
    "ours_uncached": "distill-lab, no cache",
    "ours_filling": "distill-lab, filling the cache",
    "ours_cached": "distill-lab, cached",
    "torchdistill": "torchdistill 1.1.5",
}
COMPARED = ("bare_student", "bare_kd", "torchdistill")
STARTUP_NAMES = {
    "help": "`distill-lab --help`",
    "mistyped_key": "config error: `regime.epoch=3`",
    "wrong_loss_weight": "config error: `loss.kd.weight=-1`",
    "wrong_width": "config error: `student.widths=[0]`",
    "first_step": "first training step of a run that reuses nothing",
    "first_step_of_student": "first training step of a run whose teacher is in the store",
}
IMAGENET_VIEWS = (1, 10, 100)
PICTURES = {
    "picture_pairs": (("pairs",), "![Images per second of every loop](pictures/speed_pairs.png)"),
    "picture_jobs": (
        ("sweep", "parallel"),
        "![Seconds against students on one teacher, and against jobs](pictures/speed_jobs.png)",
    ),
    "picture_scaling": (
        ("scaling",),
        "![Seconds and bytes against samples and classes](pictures/speed_scaling.png)",
    ),
}
"""Block -> sections that the picture is drawn from, Markdown."""
BLOCK = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
GIB, MIB = 2**30, 2**20


def filled(page: str, results: dict[str, Any]) -> str:
    """Return a page with every block between `<!-- name -->` and `<!-- end -->` made anew."""
    return BLOCK.sub(lambda found: found[1] + block(found[2], results) + found[3], page)


def block(name: str, results: dict[str, Any]) -> str:
    """Return the Markdown of one block, or a line that says how to measure it."""
    makers: dict[str, Callable[[dict[str, Any]], str]] = {
        "targets": _targets,
        "resnet": lambda r: _pair(r["pairs"]["resnet"]),
        "mlp": lambda r: _pair(r["pairs"]["mlp"]),
        "startup": _startup,
        "sweep": _sweep,
        "parallel": _parallel,
        "scaling": _scaling,
        "imagenet": lambda r: _imagenet(),
        "environment": _environment,
    }
    if name in PICTURES:
        sections, markdown = PICTURES[name]
        return f"{markdown}\n" if all(results.get(section) for section in sections) else ""
    needs = {"resnet": "pairs", "mlp": "pairs"}.get(name, name)
    if needs != "imagenet" and not results.get(needs):
        return "Not measured yet.\n"
    return makers[name](results)


def table(header: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table; all columns but the first are right-aligned."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def slope(x: list[float], y: list[float]) -> float:
    """Return the exponent p of the power law y ~ x^p that fits best on logarithmic axes.

    >>> round(slope([1, 10, 100], [2, 20, 200]), 3)
    1.0
    """
    log_x, log_y = [math.log(v) for v in x], [math.log(v) for v in y]
    mean_x, mean_y = sum(log_x) / len(x), sum(log_y) / len(y)
    above = sum((a - mean_x) * (b - mean_y) for a, b in zip(log_x, log_y, strict=True))
    return above / sum((a - mean_x) ** 2 for a in log_x)


def _targets(results: dict[str, Any]) -> str:
    rows = [
        [
            row["what"],
            f">= {row['at_least']:.2f}" if "at_least" in row else f"<= {row['at_most']:.2f}",
            f"{row['value']:.2f}",
            _range(row["range"], 2) if "range" in row else "",
            "yes" if row["met"] else "**missed**",
        ]
        for row in results["targets"]
    ]
    return table(["target", "aim", "measured", "range", "met"], rows)


def _pair(pair: dict[str, Any]) -> str:
    speeds = pair["repeats"]
    rows = [
        [
            LOOP_NAMES[loop],
            f"{pair[loop]:,.0f}",
            _range(pair["ranges"][loop], 0),
            *(f"{median(ratios_of(speeds[loop], speeds[other])):.2f}" for other in COMPARED),
            f"{pair['peak_memory_mib'][loop]:,.0f}",
        ]
        for loop in LOOPS
    ]
    header = ["loop", "images/s", "range", "of bare student", "of bare student and teacher"]
    shown = table([*header, "of torchdistill", "peak MiB"], rows)
    return (
        f"{shown}\nMedian and range of {len(speeds['ours_cached'])} repeats; ratios are medians of "
        "those within a repeat. "
        f"The cache of two epochs has {pair['cache_bytes']:,} bytes. torchdistill was "
        f"quickest with {pair['torchdistill_workers']} loader workers.\n"
    )


def _startup(results: dict[str, Any]) -> str:
    startup = results["startup"]
    rows = [
        [name, f"{startup['seconds'][key]:.2f}", _range(startup["repeats"][key], 2)]
        for key, name in STARTUP_NAMES.items()
    ]
    shown = table(["what", "median seconds", "range"], rows)
    return f"{shown}\nMedian and range of {len(startup['repeats']['help'])} starts.\n"


def _sweep(results: dict[str, Any]) -> str:
    sweep = results["sweep"]
    separate = sweep["separate_seconds"]
    rows = []
    for count, seconds in sweep["sweep_seconds"].items():
        total = sum(separate[: int(count)])
        rows.append([count, f"{seconds:.1f}", f"{total:.1f}", f"{seconds / total:.2f}"])
    shown = table(["jobs", "sweep, seconds", "separate runs, seconds", "ratio"], rows)
    return shown + _more("further job of a sweep", sweep["sweep_seconds"])


def _parallel(results: dict[str, Any]) -> str:
    parallel = results["parallel"]
    rows = []
    for count, serial in parallel["serial_seconds"].items():
        both = parallel["parallel_seconds"][count]
        rows.append([count, f"{serial:.1f}", f"{both:.1f}", f"{both / serial:.2f}"])
    shown = table(["jobs", "one at a time, seconds", "two at once, seconds", "ratio"], rows)
    more = _more("further job, two at once,", parallel["parallel_seconds"])
    return f"{shown}{more}"


def _more(what: str, seconds: dict[str, float]) -> str:
    """Say what one more job costs, and the slope on logarithmic axes."""
    if len(seconds) < 2:
        return ""
    x, y = [float(count) for count in seconds], list(seconds.values())
    each = (y[-1] - y[0]) / (x[-1] - x[0])
    return f"\nEach {what} costs {each:.1f} s; the slope is {slope(x, y):.2f}.\n"


def _scaling(results: dict[str, Any]) -> str:
    scaling = results["scaling"]
    header = ["samples", "classes", "kept logits", "write, s", "read, s", "epoch, s", "MiB a view"]
    rows = []
    for name in ("samples", "classes", "classes_top_k"):
        kept = str(scaling["top_k"]) if name == "classes_top_k" else "all"
        rows += [
            [
                f"{row['num_samples']:,}",
                f"{row['num_classes']:,}",
                kept,
                *(f"{row[f'{what}_seconds']:.3f}" for what in ("write", "read", "epoch")),
                f"{row['cache_bytes'] / MIB:,.2f}",
            ]
            for row in scaling[name]
        ]
    return f"{table(header, rows)}\n{_slopes(results)}"


def _slopes(results: dict[str, Any]) -> str:
    """Return a table of the exponents: 1 is cost in proportion, 0 is cost that does not grow."""
    rows = []
    for name, (x_key, label) in {
        "samples": ("num_samples", "samples"),
        "classes": ("num_classes", "classes"),
        "classes_top_k": ("num_classes", "classes, top-k"),
    }.items():
        measured = results["scaling"][name]
        x = [row[x_key] for row in measured]
        if len(x) < 2:
            continue
        cells = [label]
        for what in ("write_seconds", "read_seconds", "epoch_seconds", "cache_bytes"):
            y = [row[what] for row in measured]
            cells.append(f"{slope(x, y):.2f} ({slope(x[-2:], y[-2:]):.2f})")
        rows.append(cells)
    return table(["slope against", "write", "read", "epoch", "bytes"], rows)


def _imagenet() -> str:
    rows = []
    for row in imagenet():
        kept = "all" if row["top_k"] is None else str(row["top_k"])
        sizes = [f"{views * row['view_bytes'] / GIB:,.2f}" for views in IMAGENET_VIEWS]
        rows.append([kept, row["dtype"], f"{row['view_bytes'] // NUM_SAMPLES:,}", *sizes])
    views = [f"V = {views}, GiB" for views in IMAGENET_VIEWS]
    return table(["kept logits", "numbers", "bytes an answer", *views], rows)


def _environment(results: dict[str, Any]) -> str:
    rows = [
        [
            name,
            about["date"],
            about["commit"][:8] + about["commit"][40:],
            about["environment"]["cpu"],
            f"{about['others_before']:.2f}",
            f"{about['others_during']:.2f}",
            f"{about['seconds']:.0f}",
        ]
        for name, about in results["sections"].items()
    ]
    header = ["section", "date", "commit", "processor", "busy cores before", "others' cores", "s"]
    rest = ", ".join(
        f"{key} {value}"
        for key, value in results["environment"].items()
        if key not in ("cpu", "system")
    )
    return f"{table(header, rows)}\n\nThe pairs with {rest}."


def _range(values: list[float], digits: int) -> str:
    return f"{min(values):,.{digits}f} to {max(values):,.{digits}f}"
