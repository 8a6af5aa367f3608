from __future__ import annotations

import numpy as np
import pytest
import torch

from distill_lab.knowledge.similarity import cka_matrix


def cka(first, second) -> float:
    return cka_matrix({"a": first}, {"b": second}).item()


def cka_by_hsic(first, second):
    """The kernel form: HSIC of two linear kernels with an explicit centring matrix."""
    first, second = first.flatten(1).double().numpy(), second.flatten(1).double().numpy()
    n = len(first)
    centring = np.eye(n) - 1 / n

    def hsic(x, y):
        return np.trace(x @ x.T @ centring @ y @ y.T @ centring)

    return hsic(first, second) / np.sqrt(hsic(first, first) * hsic(second, second))


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize(("num_samples", "width", "other"), [(50, 4, 3), (6, 40, 30), (8, 3, 90)])
def test_narrow_and_wide_layers_equal_the_kernel_definition(generator, num_samples, width, other):
    first = torch.randn(num_samples, width, generator=generator) + 3
    second = torch.randn(num_samples, other, generator=generator) + first[:, :1]
    assert cka(first, second) == pytest.approx(cka_by_hsic(first, second), rel=1e-10)


def test_value_worked_by_hand():
    # x = (-1, 0, 1), y = (1, -2, 1) / 3 + x. For one column CKA is the squared correlation.
    # x.y = 2, x.x = 2, y.y = 2 + 6/9.
    first = torch.tensor([[-1.0], [0.0], [1.0]])
    second = torch.tensor([[-2 / 3], [-2 / 3], [4 / 3]])
    assert cka(first, second) == pytest.approx(4 / (2 * (2 + 6 / 9)))


def test_rotation_shift_and_scale_do_not_matter(generator):
    first = torch.randn(20, 5, generator=generator)
    rotation = torch.linalg.qr(torch.randn(5, 5, generator=generator)).Q
    assert cka(first, 7 * first @ rotation + 2) == pytest.approx(1.0, abs=1e-6)


def test_zero_for_uncorrelated_layers():
    first = torch.tensor([[1.0], [1.0], [-1.0], [-1.0]])
    second = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]])
    assert cka(first, second) == 0


def test_zero_for_a_layer_that_does_not_depend_on_its_input(generator):
    constant = torch.full((7, 3), 0.1, dtype=torch.float64)
    assert cka(constant, torch.randn(7, 4, generator=generator)) == 0


def test_different_sample_counts_are_refused():
    with pytest.raises(ValueError, match="first has 3, second has 4"):
        cka(torch.ones(3, 2), torch.ones(4, 2))


def test_matrix_has_first_in_rows_and_equals_the_kernel_definition(generator):
    first = {
        "a": torch.randn(9, 2, generator=generator),
        "b": torch.randn(9, 3, 2, 2, generator=generator),
    }
    second = {f"c{i}": torch.randn(9, 30, generator=generator) for i in range(3)}
    matrix = cka_matrix(first, second)
    assert matrix.shape == (2, 3)
    expected = [[cka_by_hsic(x, y) for y in second.values()] for x in first.values()]
    np.testing.assert_allclose(matrix.numpy(), expected, rtol=1e-10)
