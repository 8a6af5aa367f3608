"""The real MLflow UI shows what a real sweep logged."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from mlflow import MlflowClient

from distill_lab.tracking.view import ADDRESS

pytestmark = [
    pytest.mark.ui,
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning"),  # MLflow's own
]
browsing = pytest.importorskip("browsing")  # it imports playwright

SWEEP = [
    "-m",
    "data=fake",
    "regime.epochs=2",
    "selection.regime.epochs=2",
    "knowledge.student_epochs=1",
    "temperature.value=1,4",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which the command line ran a sweep of two jobs."""
    if not browsing.CHROMIUM.exists():
        reason = f"there is no {browsing.CHROMIUM}; `make test-ui` installs it"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    folder = tmp_path_factory.mktemp("sweep")
    command = [sys.executable, "-m", "distill_lab", *SWEEP]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def runs(folder):
    """The sweep's run and its jobs' runs, by job number."""
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("distill-lab").experiment_id
    found = client.search_runs([experiment], "tags.kind = 'workflow'")
    jobs = {run.data.tags["job"]: run for run in found}
    return client.search_runs([experiment], "tags.kind = 'sweep'")[0], jobs["0"], jobs["1"]


@pytest.fixture(scope="module")
def address(folder):
    with browsing.served(folder) as address:
        yield address


@pytest.fixture
def page():
    with browsing.browser_page() as page:
        yield page


def runs_page(address, run, query=""):
    experiment = run.info.experiment_id
    return f"{address}/#/experiments/{experiment}/runs?workflowType=machine_learning{query}"


def metrics_of(page, known):
    """What is in sight of the comparison: name -> one number per run; all names come first."""
    page.get_by_text("cost/latency_ms", exact=True).wait_for()
    shown = page.inner_text("body").partition("\nMetrics\n")[2].partition("\nArtifacts\n")[0]
    lines = shown.split("\n")
    names = [line for line in lines if line in known]
    values = [float(line) for line in lines if line[:1].isdigit() or line[:1] == "-"]
    return dict(zip(names, zip(values[::2], values[1::2], strict=True), strict=True))


def test_a_sweep_is_listed_and_opens_to_its_jobs(address, page, runs):
    sweep, *jobs = runs
    page.goto(runs_page(address, sweep))
    row = page.get_by_role("row").filter(has_text=sweep.info.run_name)
    row.get_by_role("button").click()  # unfolds the run
    for job in jobs:
        page.get_by_role("link", name=job.info.run_name).wait_for()


def test_the_printed_link_opens_the_jobs_alone_with_what_was_swept(address, page, runs):
    sweep, *jobs = runs
    page.set_viewport_size({"width": 2600, "height": 900})  # columns out of sight are not drawn
    page.goto(sweep.data.tags["look"].replace(ADDRESS, address))
    for job in jobs:
        page.get_by_role("link", name=job.info.run_name).wait_for()
    page.get_by_text("temperature.value", exact=True).wait_for()
    page.get_by_text("test/gain_over_control", exact=True).wait_for()
    page.get_by_text("2 matching runs").wait_for()


def test_two_jobs_can_be_compared(address, page, runs):
    _, first, second = runs
    ids = f'["{first.info.run_id}","{second.info.run_id}"]'
    page.goto(f'{address}/#/compare-runs?runs={ids}&experiments=["{first.info.experiment_id}"]')
    row = page.locator("tr").filter(has=page.get_by_text("temperature.value", exact=True))
    assert row.inner_text().split() == ["temperature.value", "1", "4"]
    shown = metrics_of(page, first.data.metrics)
    assert len(shown) > 9
    for name, values in shown.items():
        expected = [run.data.metrics[name] for run in (first, second)]
        assert values == pytest.approx(expected, rel=1e-3, abs=1e-3), name


def test_the_report_is_shown_among_the_artifacts(address, page, runs):
    _, job, _ = runs
    page.goto(
        f"{address}/#/experiments/{job.info.experiment_id}/runs/{job.info.run_id}"
        "/artifacts/report.html"
    )
    report = page.frame_locator("iframe")
    report.get_by_role("heading", name="Verdict").wait_for()
    assert "student distilled" in report.locator("body").inner_text()
