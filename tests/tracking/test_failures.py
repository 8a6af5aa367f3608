from __future__ import annotations

import errno
import os

import pytest
from mlflow.exceptions import MlflowException

from distill_lab.errors import ConfigError, RunError
from distill_lab.tracking.failures import refusals_told


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a.png"), "Is there room on the disk?"),
        (MlflowException("(sqlite3.OperationalError) database or disk is full"), "room"),
        (OSError(errno.EROFS, os.strerror(errno.EROFS), "a.png"), "Give leave to write there"),
        (MlflowException("attempt to write a readonly database"), "Give leave to write there"),
        (OSError(errno.EIO, os.strerror(errno.EIO)), "When that is mended"),
    ],
    ids=str,
)
def test_what_was_refused_is_told_with_what_to_do(error, advice):
    with pytest.raises(RunError) as told, refusals_told():
        raise error
    assert str(error) in str(told.value)
    assert advice in str(told.value)
    assert "finished stages will be reused" in str(told.value)


def test_a_password_is_not_told():
    with pytest.raises(RunError) as told, refusals_told():
        raise MlflowException("no answer from postgresql://ann:secret@host/db")
    assert "secret" not in str(told.value)


def test_a_server_that_is_called_by_a_name_it_does_not_know_is_told_it():
    said = "403 != 200. Response body: 'Invalid Host header - possible DNS rebinding attack"
    with pytest.raises(RunError, match=r"--allowed-hosts 'node1:\*,127"), refusals_told():
        raise MlflowException(said)


def test_other_errors_pass():
    with pytest.raises(ConfigError), refusals_told():
        raise ConfigError(["seed: is missing."])


def test_a_reader_that_has_gone_is_no_refusal():
    with pytest.raises(BrokenPipeError), refusals_told():
        raise BrokenPipeError
