from __future__ import annotations

import os
import pickle
import signal

import numpy as np
import pytest
import torch
from PIL import Image

from distill_lab.data import workers
from distill_lab.data.decode import Decoder, Request
from distill_lab.data.workers import Workers
from distill_lab.errors import DataError

# Newer Pythons warn of forks; these tests fork, because starting processes afresh takes seconds.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),  # on one core
]
DECODER = Decoder(3, 4, 4)


@pytest.fixture(autouse=True)
def _quick_start(request, monkeypatch):
    if "slow" not in request.keywords:
        monkeypatch.setattr(workers, "START", "fork")


@pytest.fixture
def requests(tmp_path) -> list[Request]:
    """Six batches of two images, each of one grey that is its number times ten."""
    paths = [str(tmp_path / f"{number}.png") for number in range(12)]
    for number, path in enumerate(paths):
        Image.fromarray(np.full((4, 4, 3), number * 10, np.uint8)).save(path)
    return [Request(paths[first : first + 2], None) for first in range(0, 12, 2)]


def greys(batches) -> list[list[int]]:
    return [batch[:, 0, 0, 0].tolist() for batch in batches]


IN_ORDER = [[0, 10], [20, 30], [40, 50], [60, 70], [80, 90], [100, 110]]


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_batches_come_in_the_order_of_the_requests(requests, num_workers):
    pool = Workers(DECODER, num_workers)
    assert greys(pool.decoded(requests, 6)) == IN_ORDER
    assert greys(pool.decoded(requests[::-1], 6)) == IN_ORDER[::-1]


@pytest.mark.slow
def test_processes_started_afresh_do_the_same(requests):
    pool = Workers(DECODER, 2)
    assert greys(pool.decoded(iter(requests), 6)) == IN_ORDER
    assert greys(pool.decoded(iter(requests), 6)) == IN_ORDER


@pytest.fixture
def starts(monkeypatch) -> list[Workers]:
    """Grows by one whenever processes are started."""
    found: list[Workers] = []
    start = Workers._start

    def noted(self):
        found.append(self)
        return start(self)

    monkeypatch.setattr(Workers, "_start", noted)
    return found


def test_processes_stay_for_the_next_pass(requests, starts):
    pool = Workers(DECODER, 1)
    for _ in range(3):
        passing = pool.decoded(requests, 6)
        # As Lightning does it: the last batch is not followed by a question for one more.
        batches = [next(passing) for _ in range(6)]
        assert greys(batches) == IN_ORDER
    assert len(starts) == 1


def test_a_pass_within_a_pass_disturbs_neither(requests, starts):
    pool = Workers(DECODER, 1)
    list(pool.decoded(requests, 6))
    outer = pool.decoded(requests, 6)
    first = next(outer)
    assert greys(pool.decoded(requests[::-1], 6)) == IN_ORDER[::-1]
    assert greys([first, *outer]) == IN_ORDER
    assert len(starts) == 2


def test_after_a_pass_that_was_given_up_the_next_one_is_whole(requests):
    pool = Workers(DECODER, 1)
    given_up = pool.decoded(requests, 6)
    next(given_up)
    given_up.close()
    assert greys(pool.decoded(requests, 6)) == IN_ORDER


def test_one_batch_alone_starts_no_process(requests, starts):
    assert greys(Workers(DECODER, 2).decoded(requests[:1], 1)) == IN_ORDER[:1]
    assert starts == []


@pytest.mark.parametrize("num_workers", [0, 1])
def test_the_numbers_that_networks_draw_are_left_alone(requests, num_workers):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    list(Workers(DECODER, num_workers).decoded(requests, 6))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_file_that_cannot_be_read_is_named_without_a_traceback(requests, tmp_path, num_workers):
    (tmp_path / "4.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"^\S*4\.png: cannot be read as an image") as caught:
        list(Workers(DECODER, num_workers).decoded(requests, 6))
    assert "Traceback" not in str(caught.value)


class Dying(Decoder):
    def __getitem__(self, request):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_dies_is_reported_with_what_to_do(requests):
    with pytest.raises(DataError, match=r"died: .* Lower data\.num_workers"):
        list(Workers(Dying(3, 4, 4), 1).decoded(requests, 6))


def test_in_another_process_it_decodes_by_itself(requests):
    pool = Workers(DECODER, 1)
    assert greys(pool.decoded(requests, 6)) == IN_ORDER
    sent = pickle.loads(pickle.dumps(pool))
    assert sent.num_workers == 0
    assert greys(sent.decoded(requests, 6)) == IN_ORDER
