"""Make the pictures of the MLflow UI: run a sweep in a temporary folder, open it, photograph it.

Run by `make pictures`, which puts tests/ui on the path. `stages.svg` is drawn by hand.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from browsing import browser_page, served
from mlflow import MlflowClient
from mlflow.entities import Run
from playwright.sync_api import Page

from distill_lab.tracking.view import ADDRESS

HERE = Path(__file__).resolve().parent
MAX_BYTES = 250_000  # per picture, so that the repository stays small
SWEEP = ["-m", "temperature.value=1,4,16", "seed=0,1"]


def main() -> None:
    """Run the sweep and save `sweep.png` and `report.png` beside this file."""
    with TemporaryDirectory(prefix="distill-lab-pictures-") as scratch:
        folder = Path(scratch)
        subprocess.run([sys.executable, "-m", "distill_lab", *SWEEP], cwd=folder, check=True)
        sweep, best = _runs(folder)
        with served(folder) as address, browser_page(1500, 640) as page:
            _photograph_sweep(page, address, sweep)
            page.set_viewport_size({"width": 1500, "height": 900})
            _photograph_report(page, address, best)


def _runs(folder: Path) -> tuple[Run, Run]:
    """Return the sweep's run and its best job's."""
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("distill-lab").experiment_id
    sweep = client.search_runs([experiment], "tags.kind = 'sweep'")[0]
    return sweep, client.get_run(sweep.data.tags["best_run"])


def _photograph_sweep(page: Page, address: str, sweep: Run) -> None:
    page.goto(sweep.data.tags["look"].replace(ADDRESS, address))
    page.get_by_text("temperature.").first.wait_for()
    page.get_by_role("alert").get_by_role("button").last.click()  # what a shared view is
    page.wait_for_timeout(3000)  # the table is drawn in several steps
    _save(page, "sweep.png")


def _photograph_report(page: Page, address: str, job: Run) -> None:
    page.goto(
        f"{address}/#/experiments/{job.info.experiment_id}/runs/{job.info.run_id}"
        "/artifacts/report.html?workflowType=machine_learning"
    )
    page.frame_locator("iframe").get_by_role("heading", name="Verdict").wait_for()
    page.wait_for_timeout(1000)
    _save(page, "report.png")


def _save(page: Page, name: str) -> None:
    path = HERE / name
    page.screenshot(path=path)
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise SystemExit(f"{name}: {size} bytes, more than {MAX_BYTES}; make the window smaller.")
    print(f"{path.relative_to(HERE.parents[1])}: {size // 1000} kB")


if __name__ == "__main__":
    main()
