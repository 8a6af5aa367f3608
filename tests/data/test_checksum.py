from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from distill_lab.contracts import Arrays, Splits
from distill_lab.data.checksum import checksum, digest


def splits() -> Splits:
    return Splits(
        *(Arrays(torch.full((2, 1, 2, 2), float(n)), torch.tensor([0, n])) for n in range(3))
    )


def test_digest_is_sha256_over_name_dtype_shape_and_bytes():
    expected = hashlib.sha256(b"a |u1 (2,)\n\x01\x02" + b"b <i8 (1,)\n\x03" + bytes(7)).hexdigest()
    assert digest({"b": np.array([3]), "a": np.array([1, 2], np.uint8)}) == expected


def test_digest_does_not_depend_on_memory_layout():
    array = np.arange(6.0).reshape(2, 3)
    assert digest({"a": array}) == digest({"a": np.asfortranarray(array)})


def test_equal_splits_have_equal_checksums():
    assert checksum(splits()) == checksum(splits())


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize("part", ["inputs", "targets"])
def test_one_changed_number_changes_the_checksum(split, part):
    changed = splits()
    getattr(getattr(changed, split), part).view(-1)[-1] += 1
    assert checksum(changed) != checksum(splits())


@pytest.mark.parametrize("change", [lambda x: x.view(2, 1, 1, 4), lambda x: x.double()])
def test_shape_and_dtype_count(change):
    same = splits()
    changed = same._replace(test=same.test._replace(inputs=change(same.test.inputs)))
    assert checksum(changed) != checksum(same)


def test_what_users_had_counts_where_it_is_told():
    def told(pairs: list[list[int]]) -> str:
        same = splits()
        return checksum(same._replace(test=same.test._replace(had=torch.tensor(pairs))))

    assert told([[0, 3]]) == told([[0, 3]])
    assert len({told([[0, 3]]), told([[1, 3]]), checksum(splits())}) == 3


class Files:
    """Stands for inputs in files: nothing but the signature may be asked for."""

    def __init__(self, signature: str) -> None:
        self.signature = signature


def test_of_inputs_in_files_the_signature_counts():
    in_memory = splits()
    one, same, other = (
        checksum(in_memory._replace(train=in_memory.train._replace(inputs=Files(text))))
        for text in ("one", "one", "other")
    )
    assert one == same != other
    assert one != checksum(in_memory)
