from __future__ import annotations

import pytest
import torch

from distill_lab.losses.at import at
from distill_lab.losses.cat_kd import cat_kd
from distill_lab.losses.cwd import cwd
from distill_lab.losses.fsp import fsp
from distill_lab.losses.ickd import ickd
from distill_lab.losses.kdsvd import kdsvd
from distill_lab.losses.nst import nst

OF_MAPS = {
    "at": at,
    "nst": nst,
    "ickd": ickd,
    "cwd": lambda a, b: cwd(a, b, 1.0),
    "cat_kd": lambda a, b: cat_kd(a, b, 2),
    "fsp": lambda a, b: fsp(a, a, b, b),
    "kdsvd": lambda a, b: kdsvd([a, a], [b, b]),
}
MAPS = (3, 4, 5, 5)


@pytest.mark.parametrize("name", OF_MAPS)
@pytest.mark.parametrize("other", [(3, 4), (3, 6, 4), (1, 4, 5, 5)])
def test_what_is_no_map_of_the_same_samples_is_refused_with_both_shapes(name, other):
    for shapes in ((MAPS, other), (other, MAPS)):
        with pytest.raises(ValueError, match=rf"^{name}: ") as caught:
            OF_MAPS[name](*map(torch.randn, shapes))
        assert all(str(shape) in str(caught.value) for shape in shapes)
