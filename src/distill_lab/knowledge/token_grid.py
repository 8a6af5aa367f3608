"""Tokens that are patches of an image, laid out as the map that they are."""

from __future__ import annotations

import math

from torch import Tensor, nn

from distill_lab.knowledge.collectors import Keep

Grid = tuple[int, int]
"""Rows and columns of patches."""


def as_map(tokens: Tensor, grid: Grid) -> Tensor:
    """Return the patches among tokens as a map; what stands before them is left out.

    Class, distillation and register tokens come first, the patches after them row by row.

    Args:
        tokens: (B, L, D), L >= rows * columns.
        grid: rows and columns of patches.

    Returns:
        (B, D, rows, columns), a view.

    Raises:
        ValueError: there are fewer tokens than patches, or these are no tokens.

    >>> import torch
    >>> as_map(torch.arange(5.0).view(1, 5, 1), (2, 2)).tolist()
    [[[[1.0, 2.0], [3.0, 4.0]]]]
    """
    patches = math.prod(grid)
    if tokens.ndim != 3 or tokens.shape[1] < patches:
        raise ValueError(
            f"as_map: must be tokens (B, L, D), L >= {patches}, the patches of a grid of "
            f"{grid[0]} x {grid[1]}; got {tuple(tokens.shape)}."
        )
    return tokens[:, tokens.shape[1] - patches :].transpose(1, 2).unflatten(2, grid)


def grid_around(net: nn.Module, path: str) -> Grid | None:
    """Return the `token_grid` of the innermost module around a path that has one.

    A network whose tokens are patches says by it how many rows and columns of them there are.
    """
    found: Grid | None = getattr(net, "token_grid", None)
    module = net
    for name in path.split("."):
        module = module.get_submodule(name)
        found = getattr(module, "token_grid", found)
    return found


def laid_out(keep: Keep, grid: Grid | None) -> Keep:
    """Return what keeps tokens as maps; without a grid, and of other features, nothing."""

    def lay_out(feature: Tensor) -> None:
        if grid is not None and feature.ndim == 3 and feature.shape[1] >= math.prod(grid):
            keep(as_map(feature, grid))

    return lay_out
