"""The command line: compose, check, run; the only place that turns an error into an exit code.

Heavy imports are inside functions, so that `--help` and a config error answer at once.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from distill_lab.errors import ConfigError, DistillLabError, nearest, without_secret
from distill_lab.naming import command, is_server, look
from distill_lab.parallel import be_quiet
from distill_lab.stopping import Terminated, ended_by

if TYPE_CHECKING:
    from distill_lab.tracking.store import Store
    from distill_lab.workflow import Done

EXIT_FAILED = 1
EXIT_CONFIG = 2
EXIT_INTERRUPTED = 130
EXIT_PIPE = 141
EXIT_TERMINATED = 143
STOPPED = "\nStopped; finished stages will be reused by the same command."
ASK_HELP = frozenset(("--help", "-h", "help"))
HYDRA_FLAGS = ("--cfg", "-c", "--info", "-i", "--hydra-help", "--shell-completion", "-sc")

HELP = """\
distill-lab: knowledge distillation experiments, tracked.

  distill-lab [overrides]            run the six stages; finished ones are reused
  distill-lab -m key=a,b,c [...]     sweep: one job per combination, summarised at the end;
                                     hydra/launcher=joblib: as many at once as there are cores;
                                     ray, submitit_slurm: on a cluster (docs/scale.md)
  distill-lab regime.search.space={key:[a,b]} [...]
                                     search: Optuna chooses the values of each run (docs/search.md)
  distill-lab check [overrides]      check every config, or one run's or sweep's; run nothing
  distill-lab reproduce PAPER [--scale full|cpu] [--only PATTERN] [overrides]
                                     run what is missing of a paper; its numbers beside ours
  distill-lab scoreboard             all papers, from the results that are kept
  distill-lab report RUN             make a run's report.html again, of what the store has
  distill-lab compare RUN RUN ...    one page for several runs, or for the jobs of a sweep
  distill-lab ui [--port N]          MLflow UI on 127.0.0.1
  distill-lab server [--folder DIR] [--port N]
                                     MLflow's server on PostgreSQL, for tracking=server
  distill-lab --cfg job [overrides]  print the composed config
  distill-lab --version              print the version

An override is group=option (data=mnist) or key=value (temperature.value=4, student.widths=[32]).
A network's knob may be a grid of candidates: 'student.widths={grid: [[16], [32]]}'.

Groups and their options:
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Returns:
        0 done, 1 failed, 2 asked wrongly, 130 stopped by Ctrl-C, 143 by SIGTERM.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands errors on instead of printing tracebacks
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    be_quiet()
    try:
        with ended_by(signal.SIGINT, signal.SIGTERM):
            code = _command(words)
            sys.stdout.flush()
            return code
    except ConfigError as error:
        print(without_secret(str(error)), file=sys.stderr)
        return EXIT_CONFIG
    except DistillLabError as error:
        print(without_secret(f"\nFailed: {error}"), file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print(STOPPED, file=sys.stderr)
        return EXIT_INTERRUPTED
    except Terminated:
        print(STOPPED, file=sys.stderr)
        return EXIT_TERMINATED
    except BrokenPipeError:  # whoever read it has had enough, as `| head` has
        # What waits to be written goes nowhere, or Python would fail on it once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE


def _command(words: list[str]) -> int:
    first = words[0] if words else ""
    if first in ASK_HELP or (first != "ui" and not ASK_HELP.isdisjoint(words)):
        print(HELP + _options())
        return 0
    if first == "--version":
        print(f"distill-lab {version('distill-lab')}")
        return 0
    commands: dict[str, Callable[[list[str]], int]] = {
        "check": _check,
        "reproduce": _reproduce,
        "scoreboard": _scoreboard,
        "report": _report,
        "compare": _compare,
        "ui": _ui,
        "server": _server,
    }
    if first in commands:
        return commands[first](words[1:])
    if first and "=" not in first and not first.startswith(("-", "~", "+")):
        known = [*commands, "help"]
        choice = f"neither a command ({', '.join(known)}) nor key=value"
        raise ConfigError([f"{first!r} is {choice}.{nearest(first, known)}"])
    return _run(words)


def _run(words: list[str]) -> int:
    """Check the request; then let Hydra compose it once per job."""
    if any(word.partition("=")[0] in HYDRA_FLAGS for word in words):
        _hydra(words, lambda cfg: None)
        return 0
    flags = [word for word in words if word in ("-m", "--multirun")]
    overrides = [word for word in words if word not in flags]
    unknown = [word for word in overrides if word.startswith("-")]
    if unknown:
        raise ConfigError(
            [f"{word}: there is no such option; see distill-lab --help." for word in unknown]
        )
    if flags:
        from distill_lab.sweep import run_sweep

        return run_sweep(overrides, lambda given, job: _hydra(["-m", *given], job))
    from distill_lab.launch import checked_alone, run_job

    parts = checked_alone(overrides)
    if parts.search is not None:
        from distill_lab.search.run import run_search

        return run_search(parts, overrides)
    _show(run_job(parts, overrides), parts.tracking.uri)
    return 0


def _check(words: list[str]) -> int:
    from distill_lab.every_config import check_everything
    from distill_lab.launch import check_jobs
    from distill_lab.papers.reproduce import check_papers

    if words:
        count, advice = check_jobs(words)
        what = "This run is" if count == 1 else f"All {count} jobs of this sweep are"
        print(f"{what} sound; nothing was started.")
        if advice:
            print("\nFar from what was published (docs/losses.md):", *advice, sep="\n  ")
    else:
        print(f"{check_everything()} configs compose, check and build.")
        print(f"{check_papers()} rows of papers name runs that are sound.")
    return 0


def _reproduce(words: list[str]) -> int:
    from distill_lab.papers.asked import asked

    request = asked(words)
    from distill_lab.papers.reproduce import reproduce

    return reproduce(*request)


def _scoreboard(words: list[str]) -> int:
    from distill_lab.papers.scoreboard import all_papers

    if words:
        raise ConfigError([f"scoreboard takes no argument, got {' '.join(words)}."])
    print(all_papers())
    return 0


def _report(words: list[str]) -> int:
    runs, store = _store(words)
    if len(runs) != 1:
        raise ConfigError([f"report: give the id of one run, got {len(runs)}."])
    from distill_lab.run_report import report_of
    from distill_lab.tracking.failures import refusals_told

    with refusals_told():
        run_id = store.resolve(runs[0]).id
        print(f"Report  {report_of(store, run_id)}\n{look(store.uri, store.run_address(run_id))}")
    return 0


def _compare(words: list[str]) -> int:
    runs, store = _store(words)
    if not runs:
        raise ConfigError(["compare: give the ids of two or more runs, or of a sweep."])
    from distill_lab.comparison import compare_runs
    from distill_lab.tracking.failures import refusals_told

    with refusals_told():
        table, path, address = compare_runs(store, runs)
    print(f"{table}\n\nReport  {path}\n{look(store.uri, address)}")
    return 0


def _store(words: list[str]) -> tuple[list[str], Store]:
    """Return the words that are runs, and the store that the overrides among them name."""
    from distill_lab.launch import checked
    from distill_lab.tracking.store import Store

    overrides = [word for word in words if "=" in word]
    unknown = [word for word in words if word.startswith("-")]
    if unknown:
        raise ConfigError([f"{word}: there is no such option." for word in unknown])
    tracking = checked(overrides).tracking
    store = Store(tracking.uri, tracking.experiment, tracking.artifact_location)
    return [word for word in words if word not in overrides], store


def _ui(words: list[str]) -> int:
    """Hand over to MLflow's own server, on the store that the overrides name."""
    from distill_lab.launch import checked

    options = [word for word in words if word.startswith("-") or "=" not in word]
    uri = checked([word for word in words if word not in options]).tracking.uri
    if is_server(uri):
        raise ConfigError([f"ui: a tracking server has its own, at {uri}."])
    if not any(word.partition("=")[0] in ("--host", "-h") for word in options):
        options = ["--host", "127.0.0.1", *options]
    if not any(word.partition("=")[0] in ("--workers", "-w") for word in options):
        options = ["--workers", "1", *options]
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")  # a dozen processes less
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, *options]
    os.execv(sys.executable, command)


def _server(words: list[str]) -> int:
    from distill_lab.tracking.server import asked, serve

    request = asked(words)
    try:
        serve(request)
    except (KeyboardInterrupt, Terminated):
        print("\nThe server is stopped; what it has is kept.")
    return 0


def _hydra(words: list[str], job: Callable[[Any], None]) -> None:
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from distill_lab.config.compose import CONF

    program, sys.argv = sys.argv, ["distill-lab", *words]
    try:
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(job)()
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError([" ".join(str(error.__cause__ or error).split())]) from error
    finally:
        sys.argv = program


def _show(done: Done, uri: str) -> None:
    from distill_lab.refine import merged
    from distill_lab.report import tables
    from distill_lab.stages.report_handoff import table

    rows = table(done.report)
    ranked = [name for name in ("HR@10", "NDCG@10") if any(name in row for row in rows)]
    size = ["KiB on disk"] if done.report.variants else []
    columns = ["", "accuracy", *ranked, "agreement", "ECE", "parameters", "MACs", *size]
    columns.append("latency ms")
    print("\n" + tables.text(rows, columns) + "\n")
    for goal in done.report.verdict:
        mark = "met" if goal.met else "missed"
        span = f"   95 % interval {goal.span}" if goal.span else ""
        print(f"  {goal.name:<28} {goal.reached:>12}   {goal.aim:<16} {mark:<6}{span}".rstrip())
    if done.proposals:
        print("\nNext, by the rules of stage 6:")
        for proposal in done.proposals:
            print(f"  {command(merged(done.overrides, proposal.overrides))}\n      {proposal.why}")
    print(f"\nReport  {done.report_path}")
    print(done.handed_over.lines if done.handed_over else f"Model   {done.model}")
    print(f"Run     {done.run_id} in {without_secret(uri)}")
    print(look(uri, done.look))


def _options() -> str:
    from distill_lab.config.groups import groups

    lines = [f"  {group:<24} {', '.join(names)}" for group, names in groups().items()]
    return "\n".join(lines)
