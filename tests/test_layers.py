"""Imports point down: which part of the package may import which, and who may use a framework."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "distill_lab"

LEVEL_0 = {"errors", "contracts", "settings", "picture", "own_code", "lifetime", "stopping"}
LEVEL_1 = {"losses", "models", "data", "knowledge", "measure", "compress", "temperature", "naming"}
TOP = {
    "plan",
    "workflow",
    "launch",
    "every_config",
    "refine",
    "sweep",
    "sweep_summary",
    "cli",
    "__main__",
}
TOP |= {
    "every_config",
    "parallel",
    "launchers",
    "sweep_job",
    "chain",
    "papers",
    "run_report",
    "comparison",
    "search",
    "told_apart",
}
TYPES_ONLY = {"tracking"}
MAY_IMPORT = {
    **dict.fromkeys(LEVEL_0, LEVEL_0),
    **dict.fromkeys(LEVEL_1, LEVEL_0),
    "training": LEVEL_0 | LEVEL_1,
    "report": LEVEL_0 | LEVEL_1,
    "tracking": LEVEL_0,
    "fingerprint": {"own_code"},
    "environment": set(),
    "config": LEVEL_0 | {"temperature", "naming"},
    "stages": LEVEL_0 | LEVEL_1 | {"training", "report", "fingerprint", "environment"},
    "pages": LEVEL_0 | LEVEL_1 | {"report", "stages"},
    "handover": LEVEL_0 | LEVEL_1 | {"report", "stages", "tracking"},
    "own_parts": LEVEL_0 | LEVEL_1,
    "preflight": LEVEL_0 | LEVEL_1 | {"training", "config", "own_parts"},
}
"""Part -> parts it may import beside itself; what is not listed is on top and may import all."""
SHARED_BY_STAGES = {
    "handoffs",
    "report_handoff",
    "context",
    "proposals",
    "answers",
    "candidates",
    "teach",
}
SHARED_BY_STAGES |= {"retraining", "variants", "rules", "running_costs", "cost_handoff"}
SHARED_BY_STAGES |= {"examined", "faithfulness", "measured", "robustness"}
ONLY_IN = {
    "hydra": {"config", "cli", "sweep"},
    "omegaconf": {"config", "cli"},
    "mlflow": {"tracking"},
    "pytorch_lightning": {"training", "data"},
    "torchvision": {"models", "data"},
    "timm": {"models"},
    "torchao": {"compress"},
    "torch_pruning": {"compress"},
    "onnxruntime": {"compress"},
    "codecarbon": {"measure"},
    "optuna": {"search"},
    "ray": {"launchers"},
    "submitit": {"launchers"},
}
LIGHT = (
    "errors",
    "contracts",
    "settings",
    "picture",
    "own_code",
    "temperature",
    "naming",
    "fingerprint",
    "config",
)


class Import(NamedTuple):
    """A dotted name, and whether it is imported for type checkers alone."""

    name: str
    for_types: bool


def imports(path: Path) -> Iterator[Import]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    guarded = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, id(node) in guarded) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from (
                Import(f"{module}.{alias.name}", id(node) in guarded) for alias in node.names
            )


def faults(package: Path) -> list[str]:
    """One sentence per import that points the wrong way."""
    found = []
    for path in sorted(package.rglob("*.py")):
        where = path.relative_to(package).with_suffix("")
        for one in imports(path):
            reason = _fault(where.parts, one)
            if reason:
                found.append(f"{where.as_posix()} must not import {one.name}: {reason}.")
    return found


def _fault(where: tuple[str, ...], one: Import) -> str | None:
    part = where[0]
    top, *rest = one.name.split(".")
    if top == "":
        return "imports are absolute"
    if top in ONLY_IN and part not in ONLY_IN[top]:
        return f"only {', '.join(sorted(ONLY_IN[top]))} may"
    if top != PACKAGE.name:
        return None
    if part == rest[0]:
        return _fault_between_stages(where, rest) if part == "stages" else None
    if part not in MAY_IMPORT or rest[0] in MAY_IMPORT[part]:
        return None
    if part == "stages" and rest[0] in TYPES_ONLY:
        return None if one.for_types else "only under TYPE_CHECKING"
    return f"{part} may import {', '.join(sorted(MAY_IMPORT[part])) or 'nothing of ours'}"


def _fault_between_stages(where: tuple[str, ...], rest: list[str]) -> str | None:
    numbered = re.fullmatch(r"s\d_\w+", rest[1]) is not None
    mine = re.fullmatch(r"s\d_\w+", where[1]) is not None
    if numbered or (mine and rest[1] not in SHARED_BY_STAGES):
        return f"a stage imports only {', '.join(sorted(SHARED_BY_STAGES))} of its neighbours"
    return None


def test_imports_point_down():
    assert faults(PACKAGE) == []


def test_every_part_of_the_package_has_its_place():
    parts = {path.relative_to(PACKAGE).with_suffix("").parts[0] for path in PACKAGE.rglob("*.py")}
    assert parts - {"__init__"} == set(MAY_IMPORT) | TOP


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("errors.py", "import distill_lab.naming"),
        ("settings.py", "from distill_lab import losses"),
        ("losses/kd.py", "from distill_lab.models.mlp import MLP"),
        ("losses/kd.py", "import mlflow"),
        ("losses/kd.py", "from ..models import mlp"),
        ("losses/kd.py", "import torchvision.models"),
        ("compress/stored.py", "from distill_lab.measure.cost import size_bytes"),
        ("stages/variants.py", "import onnxruntime"),
        ("knowledge/taps.py", "from distill_lab.training import fit"),
        ("training/fit.py", "from distill_lab.tracking.store import Store"),
        ("training/fit.py", "from omegaconf import DictConfig"),
        ("report/plots.py", "from distill_lab.training.fit import Fitted"),
        ("report/html.py", "import pytorch_lightning as pl"),
        ("tracking/run.py", "from distill_lab.report import html"),
        ("tracking/run.py", "from distill_lab.measure import cost"),
        ("fingerprint.py", "from distill_lab.errors import RunError"),
        ("config/check.py", "from distill_lab.losses.base import Loss"),
        ("stages/s1_teacher.py", "from distill_lab.tracking.store import Store"),
        ("stages/s4_loss.py", "from distill_lab.stages.s1_teacher import rank"),
        ("stages/s4_loss.py", "from distill_lab.stages import s1_teacher"),
        ("stages/context.py", "from distill_lab.stages.s1_teacher import rank"),
        ("stages/s6_evaluate.py", "from distill_lab.workflow import run"),
        ("preflight.py", "from distill_lab.stages.context import Context"),
        ("workflow.py", "import hydra"),
        ("launch.py", "def late():\n    from mlflow import MlflowClient"),
    ],
)
def test_an_import_that_points_the_wrong_way_is_found(tmp_path, file, line):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"import torch\n{line}\n")
    (fault,) = faults(tmp_path)
    assert fault.startswith(f"{file.removesuffix('.py')} must not import ")


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("losses/kd.py", "from distill_lab.losses.base import Loss"),
        ("losses/kd.py", "from distill_lab.contracts import Batch"),
        ("training/fit.py", "from distill_lab.data.module import DataModule"),
        ("stages/s4_loss.py", "from distill_lab.stages.handoffs import Weights"),
        (
            "stages/context.py",
            "if TYPE_CHECKING:\n    from distill_lab.tracking.store import Store",
        ),
        ("workflow.py", "from distill_lab.tracking.store import Store"),
        ("sweep.py", "from hydra.core.hydra_config import HydraConfig"),
        ("tracking/store.py", "import mlflow"),
    ],
)
def test_an_import_that_points_down_is_admitted(tmp_path, file, line):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(line + "\n")
    assert faults(tmp_path) == []


def modules_of(part: str) -> list[str]:
    files = [PACKAGE / f"{part}.py", *sorted((PACKAGE / part).glob("*.py"))]
    names = [file.relative_to(PACKAGE.parent).with_suffix("") for file in files if file.exists()]
    return [".".join(name.parts).removesuffix(".__init__") for name in names]


def heavy_modules_after(code: str) -> set[str]:
    """Which of the slow packages a fresh interpreter has loaded after the code."""
    show = "import sys; print('LOADED', *{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{show}"], capture_output=True, text=True, check=True
    )
    loaded = done.stdout.rpartition("LOADED")[2].split()
    assert "sys" in loaded
    return set(loaded) & {"torch", "torchvision", "pytorch_lightning", "mlflow", "matplotlib"}


def test_what_answers_a_wrong_config_imports_nothing_slow():
    names = [name for part in LIGHT for name in modules_of(part)]
    assert "distill_lab.config.check" in names
    assert heavy_modules_after(f"import {', '.join(names)}") == set()


def test_help_imports_nothing_slow(workdir):
    assert heavy_modules_after("from distill_lab.cli import main\nmain(['--help'])") == set()


def test_a_slow_import_would_be_seen():
    assert "torch" in heavy_modules_after("import distill_lab.losses.kd")
