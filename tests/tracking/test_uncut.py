"""Whatever statement of a database a signal comes at, the run is closed and nothing is locked."""

from __future__ import annotations

from tests.signals import places


def test_a_signal_while_a_run_is_started_written_and_ended_leaves_it_closed(store):
    def work():
        with store.start("one", {}) as run:
            run.log_metrics({"a": 1.0})

    num_places = len(list(places(work)))
    found = [run.info.status for run in store.client.search_runs([store.experiment_id])]
    assert set(found) == {"KILLED", "FINISHED"}
    assert num_places > 10


def test_a_signal_while_a_run_is_opened_again_leaves_it_closed(store):
    with store.start("one", {}) as run:
        pass

    def work():
        with store.reopen(run.id):
            pass

    found = [store.get(run.id).status for _ in places(work)]
    assert set(found) == {"KILLED", "FINISHED"}
    assert len(found) > 10
