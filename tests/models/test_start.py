from __future__ import annotations

import pytest
import torch
from torch import nn

from distill_lab.models.bert import Bert
from distill_lab.models.bilstm import BiLSTM
from distill_lab.models.start import minilm, start_encoder

GIVEN = {"input_shape": (6,), "num_classes": 3, "vocabulary_size": 20}


def bert(mask_id=None, **changes):
    knobs = {"num_layers": 1, "width": 8, "num_heads": 2, "feed_forward": 9, "dropout": 0.0}
    return Bert(**GIVEN, mask_id=mask_id, **(knobs | changes))


def test_the_encoder_is_the_one_that_is_given_and_the_head_stays():
    torch.manual_seed(0)
    net, source = bert(), bert().encoder.state_dict()
    head = net.classifier.weight.clone()
    start_encoder(net, source)
    assert all(torch.equal(value, source[name]) for name, value in net.encoder.state_dict().items())
    assert torch.equal(net.classifier.weight, head)


def test_either_side_may_lack_the_pooler():
    with_pooler, without = bert(), bert(mask_id=19)
    start_encoder(without, with_pooler.encoder.state_dict())
    start_encoder(with_pooler, without.encoder.state_dict())
    name = "encoder.layer.0.output.dense.weight"
    assert torch.equal(with_pooler.encoder.state_dict()[name], without.encoder.state_dict()[name])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"width": 12}, r"embeddings.LayerNorm.bias of shape \(8,\), they have \(12,\)"),
        ({"num_layers": 2}, r"encoder.layer.1.\S+ of shape None, they have"),
    ],
)
def test_other_layers_are_named(change, text):
    with pytest.raises(ValueError, match=text):
        start_encoder(bert(), bert(**change).encoder.state_dict())


def test_a_network_without_an_encoder_is_refused():
    net = BiLSTM(**GIVEN, embedding=4, hidden=3, head=2, dropout=0.0)
    with pytest.raises(ValueError, match="BiLSTM has no encoder that could start from them"):
        start_encoder(net, {})
    with pytest.raises(ValueError, match="Linear has no encoder"):
        start_encoder(nn.Linear(2, 2), {})


def test_minilm_has_the_parameters_of_its_model_card():
    # 22.7 million: all-MiniLM-L6-v2's safetensors hold 22,713,216 numbers.
    with torch.device("meta"):
        net = minilm(30_522)
    assert sum(value.numel() for value in net.parameters()) == 22_713_216
