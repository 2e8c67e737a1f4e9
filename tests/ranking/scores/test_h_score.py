"""The H-score against scikit-learn's shrunk covariance, and against its limits."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

from medgraft.ranking.inputs import UndefinedError
from medgraft.ranking.scores.h_score import h_score


def plant(images, columns, classes=3, strength=0.5, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(images) % classes)
    features = strength * rng.normal(size=(classes, columns))[labels] + rng.normal(size=(images, columns))
    return (features * np.linspace(1.5, 0.5, columns) + 2).astype(np.float32), labels


def by_hand(features, labels):
    shrunk = LedoitWolf().fit(features.astype(float))
    means = np.array([features[labels == label].astype(float).mean(axis=0) for label in labels])
    between = np.cov(means, rowvar=False, bias=True)
    return (1 - shrunk.shrinkage_) * np.trace(np.linalg.inv(shrunk.covariance_) @ between)


@pytest.mark.parametrize(("images", "columns"), [(200, 10), (41, 40), (40, 40), (40, 100), (12, 300)])
@pytest.mark.parametrize("strength", [0.0, 0.5, 2.0])
def test_score_is_the_trace_with_a_ledoit_wolf_covariance(images, columns, strength):
    features, labels = plant(images, columns, strength=strength)
    assert h_score(features, labels) == pytest.approx(by_hand(features, labels), rel=1e-9)


@pytest.mark.parametrize("columns", [30, 300])
def test_classes_of_different_size_are_weighed_by_it(columns):
    features, _ = plant(120, columns)
    labels = np.repeat([0, 1, 2], [80, 30, 10])
    assert h_score(features, labels) == pytest.approx(by_hand(features, labels), rel=1e-9)


@pytest.mark.parametrize("columns", [6, 200])
def test_perfect_classes_come_near_the_upper_limit(columns):
    features, labels = plant(150, columns, classes=4, strength=100.0)
    assert 2.9 < h_score(features, labels) <= 3.0


def test_equal_class_means_score_zero():
    half = np.random.default_rng(0).normal(size=(20, 5))
    assert h_score(np.vstack([half, half]), np.repeat([0, 1], 20)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("columns", [6, 200])
def test_scale_and_shift_change_nothing(columns):
    features, labels = plant(80, columns)
    assert h_score(1e-3 * features.astype(float) + 7, labels) == pytest.approx(
        h_score(features, labels), rel=1e-6
    )


def test_a_covariance_that_is_not_shrunk_may_have_a_flat_direction():
    # All images at equal distance from the mean: nothing to shrink; one column of zeros.
    features = np.array([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]])
    assert h_score(features, [0, 0, 1, 1]) == pytest.approx(1.0, abs=1e-9)


def test_images_that_are_classes_of_their_own_are_refused():
    with pytest.raises(UndefinedError, match="each of 3 images is a class of its own"):
        h_score(np.eye(3), [0, 1, 2])
