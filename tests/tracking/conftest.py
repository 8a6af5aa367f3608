"""One SQLite store for all tests here, as making one takes seconds; an experiment for each."""

from __future__ import annotations

import pytest

from distill_lab.tracking.store import Store


@pytest.fixture(scope="session")
def store_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="session")
def uri(store_folder):
    return f"sqlite:///{store_folder}/mlflow.db"


@pytest.fixture
def store(uri, store_folder, request):
    return Store(uri, request.node.name, str(store_folder / "artifacts here"))
