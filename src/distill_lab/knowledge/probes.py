"""What a linear classifier can read from a layer."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

# Standardised features converge in under 100 steps; one that has not by then only ranks layers.
_MAX_STEPS = 300


def probe_accuracy(
    train_features: Tensor, train_targets: Tensor, test_features: Tensor, test_targets: Tensor
) -> float:
    """Accuracy of a linear probe: logistic regression on standardised features.

    The L2 penalty is scikit-learn's default (C = 1). A probe that has not converged is used as
    it is.

    Source: Alain and Bengio 2016, arXiv:1610.01644.

    Args:
        train_features: vectors (N, D), or tokens (N, L, D) or maps (N, C, H, W), which are averaged
            over places first.
        train_targets: (N,) class indices, at least two different.
        test_features: of the same kind, (M, ...), other samples than those trained on.
        test_targets: (M,) class indices.

    Returns:
        Fraction of test samples that the probe classifies correctly, in [0, 1].
    """
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=_MAX_STEPS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        probe.fit(_pooled(train_features), train_targets.cpu().numpy())
    return float(probe.score(_pooled(test_features), test_targets.cpu().numpy()))


def _pooled(features: Tensor) -> np.ndarray:
    places = {3: (1,), 4: (2, 3)}.get(features.ndim)
    features = features.detach().double()
    return (features if places is None else features.mean(dim=places)).cpu().numpy()
