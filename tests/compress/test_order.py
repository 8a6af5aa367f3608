from __future__ import annotations

import pytest

from distill_lab.compress.export_onnx import ExportOnnx
from distill_lab.compress.export_torch import ExportTorch
from distill_lab.compress.order import check_order
from distill_lab.compress.prune_structured import PruneStructured
from distill_lab.compress.quantize_aware import QuantizeAware
from distill_lab.compress.quantize_linear import QuantizeLinear
from distill_lab.compress.quantize_onnx import QuantizeOnnx

PRUNE, DYNAMIC, AWARE = PruneStructured(0.5, 1, 0), QuantizeLinear(True), QuantizeAware(1)
ONNX, INT8, TORCH = ExportOnnx(1e-4), QuantizeOnnx(8), ExportTorch(1e-4)


@pytest.mark.parametrize(
    "chain",
    [
        {"prune": PRUNE, "dynamic": DYNAMIC, "torch": TORCH},
        {"prune": PRUNE, "aware": AWARE, "int8": INT8},
        {"onnx": ONNX},
    ],
)
def test_a_sound_order_is_admitted(chain):
    check_order(chain)


@pytest.mark.parametrize(
    ("chain", "reason"),
    [
        ({"q": DYNAMIC, "p": PRUNE}, r"^p cannot follow q, which leaves int8 weights: it takes "),
        ({"q": DYNAMIC, "o": ONNX}, r"it takes plain float weights\. Put o before q"),
        ({"o": ONNX, "i": INT8}, "i cannot follow o, which leaves an exported graph"),
        ({"a": AWARE, "p": PRUNE}, "float weights that await int8"),
        ({"p": PRUNE, "a": AWARE}, r"nothing makes them int8\. Put quantize_onnx after a\."),
    ],
)
def test_an_unsound_order_is_refused_with_both_names(chain, reason):
    with pytest.raises(ValueError, match=reason):
        check_order(chain)
