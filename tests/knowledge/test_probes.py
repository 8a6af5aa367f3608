from __future__ import annotations

import torch

from distill_lab.knowledge import probes
from distill_lab.knowledge.probes import probe_accuracy


def blobs(num_samples, seed):
    """Three classes around the corners of a triangle, far apart against their spread."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(num_samples) % 3
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    return centres[targets] + torch.randn(num_samples, 2, generator=generator), targets


def test_separable_classes_are_read_without_error():
    assert probe_accuracy(*blobs(90, 0), *blobs(60, 1)) == 1.0


def test_noise_is_read_at_chance():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(800, 2, generator=generator)
    targets = torch.arange(800) % 2
    accuracy = probe_accuracy(features[:400], targets[:400], features[400:], targets[400:])
    assert 0.4 < accuracy < 0.6


def test_classes_that_no_line_separates_are_not_read():
    corners = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [1.0, 0.0]]).repeat(10, 1)
    exclusive_or = torch.tensor([0, 0, 1, 1]).repeat(10)
    assert probe_accuracy(corners, exclusive_or, corners, exclusive_or) <= 0.75


def test_spatial_axes_are_averaged():
    (train, train_targets), (test, test_targets) = blobs(90, 0), blobs(60, 1)
    generator = torch.Generator().manual_seed(2)
    noise = torch.randn(90, 2, 4, 4, generator=generator) * 100
    noise = noise - noise.mean(dim=(2, 3), keepdim=True)
    spatial = train[:, :, None, None] + noise
    assert probe_accuracy(spatial, train_targets, test[:, :, None, None], test_targets) == 1.0


def test_tokens_are_averaged_over_their_places():
    (train, train_targets), (test, test_targets) = blobs(90, 0), blobs(60, 1)
    generator = torch.Generator().manual_seed(2)
    noise = torch.randn(90, 5, 2, generator=generator) * 100
    tokens = train[:, None] + noise - noise.mean(dim=1, keepdim=True)
    assert probe_accuracy(tokens, train_targets, test[:, None], test_targets) == 1.0


def test_a_feature_in_tiny_units_is_still_read():
    (train, train_targets), (test, test_targets) = blobs(90, 0), blobs(60, 1)
    assert probe_accuracy(train * 1e-6, train_targets, test * 1e-6, test_targets) == 1.0


def test_no_warning_escapes_a_probe_that_does_not_converge(monkeypatch):
    monkeypatch.setattr(probes, "_MAX_STEPS", 1)
    assert 0 <= probe_accuracy(*blobs(90, 0), *blobs(60, 1)) <= 1
