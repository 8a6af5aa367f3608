from __future__ import annotations

import pytest
import torch

from distill_lab.knowledge.taps import classifier_of, forward_with_taps, tap_shapes
from distill_lab.measure.cost import count_macs, count_parameters
from distill_lab.models.bert import Bert, DistilBert

TINY = {"num_layers": 2, "width": 12, "num_heads": 3, "feed_forward": 20, "dropout": 0.1}


def make(kind, input_shape=(9,), num_classes=5, vocabulary_size=50, mask_id=None, **knobs):
    given = {"input_shape": input_shape, "num_classes": num_classes, "mask_id": mask_id}
    return kind(**given, vocabulary_size=vocabulary_size, **(TINY | knobs))


def ids(*rows):
    return torch.tensor(rows)


# transformers' documentation and the papers: BERT-Large 335 M (340 M in the paper), BERT-base
# 110 M, DistilBERT 66 M, TinyBERT of 4 layers 14.5 M.
@pytest.mark.parametrize(
    ("kind", "knobs", "parameters"),
    [
        (Bert, (24, 1024, 16, 4096), 335_141_888 + 2 * 1025),
        (Bert, (12, 768, 12, 3072), 109_482_240 + 2 * 769),
        (DistilBert, (6, 768, 12, 3072), 66_955_010),
        (Bert, (4, 312, 12, 1200), 14_350_248 + 2 * 313),
    ],
)
def test_parameters_are_the_published_ones(kind, knobs, parameters):
    names = ("num_layers", "width", "num_heads", "feed_forward")
    sizes = dict(zip(names, knobs, strict=True))
    with torch.device("meta"):
        net = make(kind, (128,), 2, 30_522, **sizes)
    assert count_parameters(net) == parameters


def test_all_matrix_products_of_bert_are_counted():
    # A layer of L tokens: 4 L w^2 of projections, 2 L^2 w of attention, 2 L w f of feed-forward.
    length, width, inner, classes = 9, 12, 20, 5
    layer = 4 * length * width**2 + 2 * length**2 * width + 2 * length * width * inner
    net = make(Bert)
    assert count_macs(net, (length,)) == 2 * layer + width**2 + width * classes
    assert count_macs(make(DistilBert), (length,)) == count_macs(net, (length,))


@pytest.mark.parametrize("kind", [Bert, DistilBert])
def test_padding_changes_nothing(kind):
    torch.manual_seed(0)
    net = make(kind).eval()
    short, long = ids([4, 7, 9]), ids([4, 7, 9, 0, 0, 0])
    with torch.no_grad():
        assert torch.allclose(net(short), net(long), atol=1e-6)
        assert not torch.allclose(net(short), net(ids([4, 7, 9, 3, 0, 0])), atol=1e-6)


@pytest.mark.parametrize("kind", [Bert, DistilBert])
def test_hidden_states_attention_and_queries_can_be_read(kind):
    net = make(kind).eval()
    shapes = tap_shapes(net, (9,), net.taps)
    assert [shape[1:] for shape in shapes.values()] == [(9, 12), (9, 12), (12,)]
    layer = net.taps[0]
    said = forward_with_taps(net, ids([1, 2, 3]), [f"{layer}:attention", f"{layer}:qkv"])
    maps, projections = said.features.values()
    assert maps.shape == (1, 3, 3, 3)
    assert torch.allclose(maps.sum(-1), torch.ones(1, 3, 3))
    assert projections.shape == (1, 3, 36)


@pytest.mark.parametrize("kind", [Bert, DistilBert])
@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("num_layers", 0),
        ("width", 13),
        ("num_heads", 0),
        ("feed_forward", 0),
        ("dropout", 1.0),
        ("input_shape", (600,)),
        ("input_shape", (3, 8, 8)),
    ],
)
def test_a_knob_out_of_range_is_named(kind, knob, value):
    with pytest.raises(ValueError, match=f"^{knob}: must be .* got "):
        make(kind, **{knob: value})


def test_numbers_are_no_token_ids():
    with pytest.raises(ValueError, match=r"^input_shape: must be \(L,\) of token ids"):
        make(Bert, (9,), vocabulary_size=None)


@pytest.mark.parametrize("kind", [Bert, DistilBert])
def test_the_masked_word_is_named_from_its_own_place(kind):
    torch.manual_seed(0)
    net = make(kind, num_classes=50, mask_id=49).eval()
    with torch.no_grad():
        hidden = net.encoder(input_ids=ids([4, 7, 49, 9])).last_hidden_state[:, 2]
        inner = torch.nn.functional.gelu(net.word_head.dense(hidden))
        normal = (inner - inner.mean()) / inner.std(correction=0)
        by_hand = normal @ net.encoder.embeddings.word_embeddings.weight.T
        torch.testing.assert_close(net(ids([4, 7, 49, 9])), by_hand, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", [Bert, DistilBert])
def test_word_embeddings_are_shared_with_the_logits(kind):
    net = make(kind, num_classes=50, mask_id=49)
    names = [name for name, value in net.named_parameters() if value.shape == (50, 12)]
    assert names == ["encoder.embeddings.word_embeddings.weight"]
    assert "classifier.weight" not in net.state_dict()


# transformers' BertForMaskedLM and DistilBertForMaskedLM of the published sizes, counted there.
@pytest.mark.parametrize(
    ("kind", "knobs", "parameters"),
    [(Bert, (12, 768, 12, 3072), 109_514_298), (DistilBert, (6, 768, 12, 3072), 66_985_530)],
)
def test_parameters_with_the_word_head_are_the_published_ones(kind, knobs, parameters):
    names = ("num_layers", "width", "num_heads", "feed_forward")
    sizes = dict(zip(names, knobs, strict=True))
    with torch.device("meta"):
        net = make(kind, (128,), 30_522, 30_522, mask_id=103, **sizes)
    assert count_parameters(net) == parameters


@pytest.mark.parametrize("kind", [Bert, DistilBert])
def test_no_layer_that_classifies_is_found_where_words_are_named(kind):
    assert classifier_of(make(kind, num_classes=50, mask_id=49)) is None
    assert classifier_of(make(kind)).out_features == 5


@pytest.mark.parametrize("kind", [Bert, DistilBert])
@pytest.mark.parametrize("mask_id", [None, 49])
def test_a_network_that_was_exported_on_two_rows_takes_any_number(kind, mask_id):
    # As MLflow exports a student, `tracking/model.py`.
    torch.manual_seed(0)
    net = make(kind, num_classes=50 if mask_id else 5, mask_id=mask_id).eval()
    rows = torch.randint(1, 49, (7, 9))
    rows[:, 3] = 49
    shapes = {"inputs": {0: torch.export.Dim.AUTO}}
    exported = torch.export.export(net, (rows[:2],), dynamic_shapes=shapes, strict=False).module()
    torch.testing.assert_close(exported(rows), net(rows))
