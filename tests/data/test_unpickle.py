from __future__ import annotations

import os
import pickle

import numpy as np
import pytest

from distill_lab.data.unpickle import unpickle_arrays
from distill_lab.errors import DataError


@pytest.mark.parametrize("protocol", [3, 4])
def test_arrays_in_lists_and_tuples_come_out_whole(protocol):
    images, targets = np.arange(6, dtype=np.float32).reshape(2, 3), np.array([1, 2])
    found = unpickle_arrays(pickle.dumps([(images, targets)], protocol=protocol))
    np.testing.assert_array_equal(found[0][0], images, strict=True)
    np.testing.assert_array_equal(found[0][1], targets, strict=True)


def test_a_pickle_of_python_2_is_read():
    # What Python 2.7 with numpy 1 wrote for np.array([1, 200], "uint8"), protocol 2.
    written = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\x00tb\x89U\x02\x01\xc8tb."
    )
    np.testing.assert_array_equal(
        unpickle_arrays(written), np.array([1, 200], np.uint8), strict=True
    )


class RunsACommand:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_a_pickle_that_runs_a_command_is_refused_before_it_runs(tmp_path):
    trace = tmp_path / "trace"
    harmful = pickle.dumps([np.zeros(2), RunsACommand(f"touch {trace}")])
    with pytest.raises(DataError, match=r"asks for \w+\.system; only numpy arrays"):
        unpickle_arrays(harmful)
    assert not trace.exists()


@pytest.mark.parametrize("function", [eval, getattr, np.load])
def test_any_other_name_is_refused(function):
    with pytest.raises(DataError, match="only numpy arrays are admitted"):
        unpickle_arrays(pickle.dumps(function))
