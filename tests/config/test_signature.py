from __future__ import annotations

from typing import Any, Literal

import pytest

from distill_lab.config.signature import conforms, describe, signature_of

MODULE = '''
"""A module whose import would fail."""

from abc import ABC
from dataclasses import dataclass
from somewhere import Tensor
from distill_lab.losses.base import Loss

raise ImportError("nobody may import this")


@dataclass
class Inner:
    number: int


@dataclass
class Settings:
    inner: Inner
    rate: float | None
    names: list[str]
    mode: Literal["a", "b"]
    count: int = 3


class Plain:
    def __init__(self, width: int, tensor: Tensor, *, depth: int, bias: bool = True) -> None:
        pass


class Base(ABC):
    def __init__(self, width: int) -> None:
        pass


class Heir(Base):
    constant: ClassVar[bool] = True


class Term(Loss):
    uses_teacher: ClassVar[bool] = False


class _Hidden:
    pass


def make(width: int, *, bias=None):
    pass
'''


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "signature_probe.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    signature_of.cache_clear()
    return "signature_probe"


def test_a_signature_is_read_without_importing_the_module(module):
    found = signature_of(f"{module}.Plain")
    assert {name: p.kind for name, p in found.items()} == {
        "width": int,
        "tensor": Any,
        "depth": int,
        "bias": bool,
    }
    assert [name for name, p in found.items() if p.required] == ["width", "tensor", "depth"]


def test_fields_of_a_dataclass_are_its_arguments_and_a_class_of_the_file_is_a_group(module):
    found = signature_of(f"{module}.Settings")
    assert found["inner"].kind is dict
    assert found["rate"].kind == float | None
    assert found["mode"].kind == Literal["a", "b"]
    assert [name for name, p in found.items() if not p.required] == ["count"]


@pytest.mark.parametrize(("name", "argument"), [("Heir", "width"), ("Term", "weight")])
def test_a_class_without_arguments_of_its_own_takes_those_of_its_base(module, name, argument):
    assert list(signature_of(f"{module}.{name}")) == [argument]


def test_a_function_has_a_signature_too(module):
    found = signature_of(f"{module}.make")
    assert (found["width"].kind, found["bias"].kind) == (int, Any)
    assert not found["bias"].required


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("{}.Plian", "has no 'Plian'. Did you mean 'Plain'?"),
        ("{}.plain", "has no 'plain'. Did you mean 'Plain'?"),
        ("{}._Hidden", "has no '_Hidden'"),
        ("{}.Tensor", "has no 'Tensor'"),
        ("{}.", "has no ''"),
        ("{}.Base", "Base is abstract"),
        ("{}.Plain.width", "there is no module"),
        ("distill_lab.losses.kdd.KD", "Did you mean 'distill_lab.losses.kd'?"),
        ("distill_lab.losses..kd.KD", "there is no module"),
        ("nowhere_at_all.X", "there is no module 'nowhere_at_all'"),
    ],
)
def test_a_wrong_target_is_named_with_the_nearest(module, target, said):
    with pytest.raises(ValueError, match=r"^") as caught:
        signature_of(target.format(module))
    assert said in str(caught.value)


FITS = [
    (3, int),
    (-(2**63) + 1, int),
    (3, float),
    (0.5, float),
    (True, bool),
    ("x", str),
    (None, int | None),
    ([], list[int]),
    ([1, 2.5], list[float]),
    ([[1], [2]], list[list[int]]),
    ("auto", float | Literal["auto"] | None),
    (object(), Any),
    ({"a": 1}, dict),
]
FITS_NOT = [
    (True, int),
    (1.0, int),
    ("1", int),
    (None, int),
    (2**63, int),
    (True, float),
    ("0.5", float),
    (float("nan"), float),
    (float("inf"), float),
    (10**400, float),
    (1, bool),
    (1, str),
    (3, list[int]),
    ("abc", list[str]),
    ([1, True], list[int]),
    ([1, None], list[int]),
    ((1, 2), list[int]),
    ("Auto", Literal["auto"]),
    (True, Literal[1]),
    ("x", dict),
    ([], int | None),
]


@pytest.mark.parametrize(("value", "kind"), FITS)
def test_a_value_of_its_type_fits(value, kind):
    assert conforms(value, kind)


@pytest.mark.parametrize(("value", "kind"), FITS_NOT)
def test_a_value_of_another_type_does_not_fit(value, kind):
    assert not conforms(value, kind)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (int, "int"),
        (list[list[int]], "a list of list of int"),
        (float | Literal["auto"] | None, "float or 'auto' or null"),
        (Literal["a", "b"], "one of 'a', 'b'"),
        (dict, "a group of keys"),
    ],
)
def test_a_type_is_described_in_words(kind, words):
    assert describe(kind) == words
