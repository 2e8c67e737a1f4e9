"""The linear probe against logistic regression and ROC curves written out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.model_selection import StratifiedKFold

from medgraft.errors import SettingsError
from medgraft.ranking.inputs import UndefinedError
from medgraft.ranking.scores.linear_probe import linear_probe


def plant(images=90, columns=5, classes=2, strength=0.4, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(images) % classes)
    features = strength * rng.normal(size=(classes, columns))[labels] + rng.normal(size=(images, columns))
    return (features * np.linspace(0.1, 30, columns) + 9).astype(np.float32), labels


def area_of_fold(features, labels, train, test):
    """Fit by a general minimiser, then count the pairs of images that are in the right order."""
    mean, deviation = features[train].mean(axis=0), features[train].std(axis=0)
    standard = (features - mean) / deviation
    signs = 2 * labels[train] - 1

    def loss(weights):
        margins = signs * (standard[train] @ weights[1:] + weights[0])
        return np.logaddexp(0, -margins).sum() + weights[1:] @ weights[1:] / 2

    outputs = standard[test] @ minimize(loss, np.zeros(features.shape[1] + 1), tol=1e-9).x[1:]
    ones, zeros = outputs[labels[test] == 1], outputs[labels[test] == 0]
    return np.mean(ones[:, None] > zeros)


def test_score_is_the_mean_area_of_folds_fitted_by_hand():
    features, labels = plant()
    parts = StratifiedKFold(5, shuffle=True, random_state=3).split(features, labels)
    areas = [area_of_fold(features.astype(float), labels, train, test) for train, test in parts]
    assert 0.6 < np.mean(areas) < 0.95
    assert linear_probe(features, labels, seed=3) == pytest.approx(np.mean(areas), abs=5e-3)


def test_the_seed_decides_the_folds():
    features, labels = plant(classes=3)
    assert linear_probe(features, labels, seed=1) == linear_probe(features, labels, seed=1)
    assert linear_probe(features, labels, seed=1) != linear_probe(features, labels, seed=2)


def test_units_of_columns_change_nothing():
    features, labels = plant(classes=3)
    assert linear_probe(features * np.float32(1e-3), labels) == pytest.approx(
        linear_probe(features, labels), abs=2e-3
    )


def test_a_small_class_makes_fewer_folds_and_one_image_none():
    features, labels = plant(40)
    three = np.where(np.arange(40) < 3, 2, labels)
    assert linear_probe(features, three) == linear_probe(features, three, folds=3)
    with pytest.raises(UndefinedError, match="there is a class of one"):
        linear_probe(features, np.where(np.arange(40) < 1, 2, labels))
    with pytest.raises(SettingsError, match="two folds or more"):
        linear_probe(features, labels, folds=1)
