"""GBC against its formula with full matrices and scikit-learn's principal components."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from medgraft.ranking.inputs import UndefinedError
from medgraft.ranking.scores.gbc import gbc


def plant(images, columns, classes=3, strength=0.3, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(images) % classes)
    features = strength * rng.normal(size=(classes, columns))[labels] + rng.normal(size=(images, columns))
    return (features * (1 + labels[:, None] / 5) + 2).astype(np.float32), labels


def by_hand(features, labels, components):
    reduced = PCA(components, svd_solver="full").fit_transform(features.astype(float))
    total = 0.0
    for one in np.unique(labels):
        for other in np.unique(labels):
            if one == other:
                continue
            a, b = reduced[labels == one], reduced[labels == other]
            covariances = [np.eye(components) * part.var(axis=0).mean() for part in (a, b)]
            pooled = sum(covariances) / 2
            difference = a.mean(axis=0) - b.mean(axis=0)
            distance = difference @ np.linalg.inv(pooled) @ difference / 8
            logs = [np.linalg.slogdet(matrix)[1] for matrix in (pooled, *covariances)]
            total += np.exp(-distance - (logs[0] - (logs[1] + logs[2]) / 2) / 2)
    return -total


@pytest.mark.parametrize(
    ("images", "columns", "components"), [(200, 10, 10), (200, 100, 64), (50, 300, 49), (80, 300, 64)]
)
def test_score_is_the_sum_of_overlaps(images, columns, components):
    features, labels = plant(images, columns)
    assert gbc(features, labels) == pytest.approx(by_hand(features, labels, components), rel=1e-7)


def test_two_clouds_by_hand():
    # Means 0 and 4, variances 1 and 4: squared distance 16 / 2.5 / 8 = 0.8, width ln(2.5 / 2) / 2.
    features = np.array([[-1.0], [1.0], [2.0], [6.0]])
    assert gbc(features, [0, 0, 1, 1]) == pytest.approx(-2 * np.exp(-0.8) / np.sqrt(1.25), rel=1e-12)


def test_clouds_in_the_same_place_overlap_wholly():
    half = np.random.default_rng(0).normal(size=(20, 5))
    assert gbc(np.vstack([half, half, half]), np.repeat([0, 1, 2], 20)) == pytest.approx(-6, rel=1e-12)


@pytest.mark.parametrize("columns", [10, 300])
def test_scale_shift_and_columns_of_zeros_change_nothing(columns):
    features, labels = plant(80, columns)
    other = np.hstack([1e-3 * features.astype(float) + 7, np.zeros((80, 30))])
    assert gbc(other, labels) == pytest.approx(gbc(features, labels), rel=1e-6)


@pytest.mark.parametrize(
    ("features", "labels", "said"),
    [
        ([[0.0], [1.0], [2.0]], [0, 0, 1], "class 1 has 1."),
        ([[0.0], [1.0], [2.0], [2.0]], [0, 0, 1, 1], "class 1 has 2 with equal features"),
        ([[0.0], [1.0], [1e6], [1e6 + 1]], [0, 0, 1, 1], "too far apart"),
    ],
)
def test_clouds_without_width_or_overlap_are_refused(features, labels, said):
    with pytest.raises(UndefinedError) as told:
        gbc(features, labels)
    assert said in str(told.value)
