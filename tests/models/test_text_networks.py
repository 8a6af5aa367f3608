"""The small networks for text: what they count, and that padding is nothing to them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from distill_lab.measure.cost import count_macs, count_parameters
from distill_lab.models.bilstm import BiLSTM, last_word_first
from distill_lab.models.pooling import largest_over_words, mean_over_words
from distill_lab.models.text_cnn import TextCNN
from distill_lab.models.word_bag import WordBag

KNOBS = {
    BiLSTM: {"embedding": 4, "hidden": 3, "head": 5, "dropout": 0.1},
    TextCNN: {"embedding": 4, "widths": [2, 3], "maps": 6, "dropout": 0.5},
    WordBag: {"embedding": 4},
}
EVERY = pytest.mark.parametrize("kind", list(KNOBS))


def make(kind, length=9, num_classes=5, vocabulary_size=50, **knobs):
    given = {"input_shape": (length,), "num_classes": num_classes}
    return kind(**given, vocabulary_size=vocabulary_size, **(KNOBS[kind] | knobs))


def ids(*rows):
    return torch.tensor(rows)


@EVERY
def test_padding_changes_nothing(kind):
    torch.manual_seed(0)
    net = make(kind, length=6).eval()
    short, long = ids([4, 7, 9]), ids([4, 7, 9, 0, 0, 0])
    with torch.no_grad():
        assert torch.allclose(net(long), net(F.pad(short, (0, 8))), atol=1e-6)
        assert not torch.allclose(net(long), net(ids([4, 7, 9, 3, 0, 0])), atol=1e-4)


@EVERY
def test_a_row_of_nothing_but_padding_has_finite_logits_and_gradients(kind):
    net = make(kind)
    net(ids([0] * 9, [1] * 9)).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("kind", [BiLSTM, TextCNN])
def test_the_order_of_the_words_matters(kind):
    torch.manual_seed(0)
    net = make(kind).eval()
    with torch.no_grad():
        assert not torch.allclose(net(ids(range(1, 10))), net(ids(range(9, 0, -1))), atol=1e-4)


def test_the_order_of_a_bag_of_words_does_not():
    net = make(WordBag)
    assert torch.allclose(net(ids(range(1, 10))), net(ids(range(9, 0, -1))), atol=1e-6)


def test_a_bag_is_the_mean_of_its_words_embeddings():
    net = make(WordBag)
    weight = net.embedding.weight
    mean = (weight[3] + weight[8] + weight[8]) / 3
    expected = F.linear(mean, net.classifier.weight, net.classifier.bias)
    assert torch.allclose(net(ids([3, 8, 8, 0, 0, 0, 0, 0, 0]))[0], expected, atol=1e-6)


def test_products_of_the_lstm_are_counted_whatever_it_is_fused_into():
    # Each direction: 4 gates of 3 states out of 4 + 3 numbers, 9 words; then 6 x 5 and 5 x 5.
    assert count_macs(make(BiLSTM), (9,)) == 2 * 9 * 4 * 3 * (4 + 3) + 6 * 5 + 5 * 5


def test_the_lstm_has_a_matrix_and_two_biases_for_each_gate():
    embedding, lstm, head, classifier = 50 * 4, 2 * 4 * 3 * (4 + 3 + 2), 6 * 5 + 5, 5 * 5 + 5
    assert count_parameters(make(BiLSTM)) == embedding + lstm + head + classifier


def test_a_filter_looks_at_each_stretch_of_its_words():
    products = 6 * 4 * (2 * 8 + 3 * 7) + 12 * 5
    assert count_macs(make(TextCNN), (9,)) == products


def test_the_published_text_cnn_has_three_hundred_maps():
    net = make(TextCNN, length=64, num_classes=2, widths=[3, 4, 5], maps=100)
    assert net.classifier.in_features == 300


def test_words_are_reversed_and_padding_stays_behind():
    rows = ids([1, 2, 3, 0], [4, 0, 0, 0], [5, 6, 7, 8])
    words = rows[:, :, None].float()
    reverse = [[3, 2, 1, 0], [4, 0, 0, 0], [8, 7, 6, 5]]
    assert last_word_first(words, rows).squeeze(2).tolist() == reverse


def test_pooling_leaves_out_padding():
    states = torch.tensor([[[-1.0, 5.0], [-3.0, 2.0], [9.0, 9.0]]])
    rows = ids([7, 8, 0])
    assert largest_over_words(states, rows).tolist() == [[-1.0, 5.0]]
    assert mean_over_words(states, rows).tolist() == [[-2.0, 3.5]]
    nothing = torch.zeros_like(rows)
    assert largest_over_words(states, nothing).tolist() == [[0.0, 0.0]]
    assert mean_over_words(states, nothing).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize(
    ("kind", "knobs", "text"),
    [
        (BiLSTM, {"hidden": 0}, "hidden: must be >= 1, got 0."),
        (BiLSTM, {"dropout": 1.0}, r"dropout: must be in \[0, 1\), got 1.0."),
        (TextCNN, {"widths": []}, r"widths: must be a list of integers >= 1, not empty"),
        (TextCNN, {"widths": [10]}, "widths: must be at most 9, the words of an input"),
        (TextCNN, {"maps": 0}, "maps: must be >= 1, got 0."),
        (WordBag, {"embedding": 0}, "embedding: must be >= 1, got 0."),
        (WordBag, {"vocabulary_size": None}, r"input_shape: must be \(L,\) of token ids"),
    ],
)
def test_a_wrong_knob_is_named(kind, knobs, text):
    with pytest.raises(ValueError, match=text):
        make(kind, **knobs)
