"""`python -m experiments.method_zoo`: how much each method teaches, into leaderboard.csv.

A method is trained with the first seed at every weight of a small grid; the one that validation
chooses is trained with the other seeds. Finished stages are taken from the tracking store of the
working directory, so what was stopped goes on where it was. The runs of a method are written as
soon as it is done, in place of its older ones.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from experiments.method_zoo.leaderboard import KD, Run, leaderboard, read_runs, write
from experiments.method_zoo.measure import measure
from experiments.method_zoo.methods import methods

HERE = Path(__file__).parent
PROCESSES = 2


def main() -> None:
    """Measure the methods that are named, or all; first those that the others are compared with."""
    known = methods()
    parser = argparse.ArgumentParser(prog="python -m experiments.method_zoo", description=__doc__)
    parser.add_argument("methods", nargs="*", help=f"of {', '.join(known)}; none: all")
    parser.add_argument("--missing", action="store_true", help="leave out what runs.csv has")
    given = parser.parse_args()
    there = {run.method for run in read_runs(HERE / "runs.csv")} if given.missing else set()
    names = [name for name in given.methods or known if name not in there]
    wrong = [name for name in names if name not in known]
    if wrong:
        parser.error(f"there is no method {', '.join(wrong)}; there are {', '.join(known)}.")
    names.sort(key=lambda name: name not in KD.values())
    with ProcessPoolExecutor(PROCESSES, get_context("spawn")) as pool:
        for task in as_completed([pool.submit(measure, known[name]) for name in names]):
            keep(task.result())


def keep(runs: list[Run]) -> None:
    """Put the runs of one method into runs.csv, and make leaderboard.csv anew."""
    others = [run for run in read_runs(HERE / "runs.csv") if run.method != runs[0].method]
    every = sorted([*others, *runs], key=lambda run: (run.method, run.seed, run.multiplier))
    write(HERE / "runs.csv", every)
    write(HERE / "leaderboard.csv", leaderboard(every))
    for run in runs:
        print(run, flush=True)


if __name__ == "__main__":
    main()
