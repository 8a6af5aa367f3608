from __future__ import annotations

import logging
import threading
import time

import numpy as np
import pytest

from distill_lab.data.checksum import digest
from distill_lab.data.fetch import fetch
from distill_lab.errors import DataError

ARRAYS = {"inputs": np.arange(4096, dtype=np.uint8).reshape(64, 64), "targets": np.arange(64)}
PIN = digest(ARRAYS)


class Source:
    """Counts how often it is asked."""

    def __init__(self, result) -> None:
        self.result = result
        self.calls = 0

    def __call__(self):
        self.calls += 1
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


@pytest.fixture
def good() -> Source:
    return Source(ARRAYS)


def assert_whole(found) -> None:
    assert digest(found) == PIN


def test_the_second_call_reads_the_file(tmp_path, good):
    path = tmp_path / "made" / "toy.npz"
    for _ in range(2):
        assert_whole(fetch(path, PIN, {"good": good}))
    assert good.calls == 1
    assert sorted(file.name for file in path.parent.iterdir()) == ["toy.npz", "toy.npz.lock"]


@pytest.mark.parametrize(
    "failure", [DataError("no pip"), OSError("no route"), {"inputs": ARRAYS["inputs"] + 1}]
)
def test_a_source_that_fails_or_differs_is_passed_over_with_one_line(
    tmp_path, good, failure, caplog
):
    caplog.set_level(logging.INFO, "distill_lab")
    assert_whole(fetch(tmp_path / "toy.npz", PIN, {"bad": Source(failure), "good": good}))
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert caplog.messages[0].startswith("toy.npz cannot be had from bad: ")


def test_later_sources_are_not_asked_when_one_works(tmp_path, good):
    later = Source(ARRAYS)
    fetch(tmp_path / "toy.npz", PIN, {"good": good, "later": later})
    assert later.calls == 0


def test_when_all_fail_each_source_is_listed_with_its_reason(tmp_path):
    sources = {
        "first": Source(OSError("no route")),
        "second": Source(DataError("pip is missing")),
        "third": Source({}),
    }
    with pytest.raises(DataError) as caught:
        fetch(tmp_path / "toy.npz", PIN, sources)
    lines = str(caught.value).splitlines()
    assert lines[1:4] == [
        "  first: no route",
        "  second: pip is missing",
        "  third: the arrays differ from the pinned checksum",
    ]
    assert "copy toy.npz from a machine that has it" in lines[4]
    assert not (tmp_path / "toy.npz").exists()


def flip_a_pixel(data: bytes) -> bytes:
    place = data.index(bytes(range(256)))
    return data[:place] + b"\xff" + data[place + 1 :]


@pytest.mark.parametrize(
    "alter",
    [
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: b"not an archive",
        flip_a_pixel,
    ],
    ids=["truncated", "empty", "text", "one pixel"],
)
def test_an_altered_file_is_named_and_fetched_again(tmp_path, good, alter, caplog):
    path = tmp_path / "toy.npz"
    fetch(path, PIN, {"good": good})
    path.write_bytes(alter(path.read_bytes()))
    assert_whole(fetch(path, PIN, {"good": good}))
    assert good.calls == 2
    assert caplog.messages == [f"{path} is altered or truncated; it is fetched again."]
    assert_whole(np.load(path))


@pytest.mark.parametrize("flip", [0x01, 0x08, 0x0E, 0x80])
def test_any_damage_to_the_directory_of_the_archive_is_survived(tmp_path, flip):
    path, arrays = tmp_path / "toy.npz", {"targets": np.arange(8)}
    np.savez(path, **arrays)
    whole = path.read_bytes()
    for place in range(whole.index(b"PK\x01\x02"), len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :])
        assert digest(fetch(path, digest(arrays), {"good": lambda: arrays})) == digest(arrays)


def test_other_whole_arrays_in_the_file_are_not_accepted(tmp_path, good):
    np.savez(tmp_path / "toy.npz", inputs=ARRAYS["inputs"], targets=ARRAYS["targets"] + 1)
    assert_whole(fetch(tmp_path / "toy.npz", PIN, {"good": good}))
    assert good.calls == 1


def test_a_half_file_left_by_a_killed_process_is_no_obstacle(tmp_path, good):
    (tmp_path / "toy.npz.part").write_bytes(b"half")
    assert_whole(fetch(tmp_path / "toy.npz", PIN, {"good": good}))
    assert not (tmp_path / "toy.npz.part").exists()


def test_a_kept_file_is_read_from_a_folder_that_cannot_be_written(tmp_path, good):
    fetch(tmp_path / "toy.npz", PIN, {"good": good})
    (tmp_path / "toy.npz.lock").unlink()
    (tmp_path / "toy.npz.lock").mkdir()  # stands for the refusal, also where tests run as root
    assert_whole(fetch(tmp_path / "toy.npz", PIN, {}))


def test_a_folder_that_cannot_be_made_is_named(tmp_path, good):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file/toy\.npz: cannot be written .* another folder"):
        fetch(tmp_path / "file" / "toy.npz", PIN, {"good": good})


def test_two_at_once_fetch_once(tmp_path):
    calls = []

    def slow():
        calls.append(1)
        time.sleep(0.2)
        return ARRAYS

    threads = [
        threading.Thread(target=fetch, args=(tmp_path / "toy.npz", PIN, {"slow": slow}))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
