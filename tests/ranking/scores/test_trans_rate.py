"""TransRate against its determinants written out, and where it would rank in reverse."""

from __future__ import annotations

import numpy as np
import pytest

from medgraft.errors import SettingsError
from medgraft.ranking.inputs import UndefinedError
from medgraft.ranking.scores.trans_rate import trans_rate


def plant(images, columns, classes=3, strength=0.5, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(images) % classes)
    features = strength * rng.normal(size=(classes, columns))[labels] + rng.normal(size=(images, columns))
    return (features + 2).astype(np.float32), labels


def by_hand(features, labels, epsilon, need_scale=True):
    centred = features.astype(float) - features.mean(axis=0, dtype=float)
    if need_scale:
        centred /= np.sqrt((centred**2).sum(axis=1).mean())

    def rate(rows):
        return np.linalg.slogdet(np.eye(rows.shape[1]) + rows.T @ rows / (len(rows) * epsilon))[1] / 2

    classes = [centred[labels == label] for label in np.unique(labels)]
    return rate(centred) - sum(len(rows) / len(features) * rate(rows) for rows in classes)


@pytest.mark.parametrize("epsilon", [1e-4, 0.5])
@pytest.mark.parametrize(("images", "columns"), [(200, 10), (100, 60), (61, 60)])
def test_score_is_the_difference_of_coding_rates(images, columns, epsilon):
    features, labels = plant(images, columns)
    assert trans_rate(features, labels, epsilon=epsilon) == pytest.approx(
        by_hand(features, labels, epsilon), rel=1e-8
    )


def test_classes_of_different_size_are_weighed_by_it():
    features, _ = plant(120, 10)
    labels = np.repeat([0, 1, 2], [90, 20, 10])
    assert trans_rate(features, labels) == pytest.approx(by_hand(features, labels, 1e-4), rel=1e-8)


def test_three_classes_by_hand():
    # One feature: -1, 0 and 1, each twice. Mean square 2/3, so that squares are 3/2, 0 and 3/2 after scaling.
    expected = np.log(1 + 1 / 0.1) / 2 - 2 / 3 * np.log(1 + 1.5 / 0.1) / 2
    score = trans_rate([[-1.0], [-1.0], [0.0], [0.0], [1.0], [1.0]], [0, 0, 1, 1, 2, 2], epsilon=0.1)
    assert score == pytest.approx(expected, rel=1e-12)


def test_scale_and_shift_change_nothing():
    features, labels = plant(120, 10)
    assert trans_rate(1e3 * features.astype(float) - 5, labels) == pytest.approx(
        trans_rate(features, labels), rel=1e-9
    )


def test_classes_with_equal_features_score_zero():
    third = np.random.default_rng(0).normal(size=(30, 5))
    assert trans_rate(np.vstack([third] * 3), np.repeat([0, 1, 2], 30)) == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize(("images", "columns", "classes"), [(400, 24, 2), (90, 120, 4)])
def test_what_is_refused_would_be_ranked_in_reverse(images, columns, classes):
    sources = [plant(images, columns, classes, strength) for strength in (0.3, 0.5, 0.8)]
    assert (np.diff([by_hand(*source, 1e-4) for source in sources]) < 0).all()
    with pytest.raises(
        UndefinedError, match=f"there are {classes} classes and {images} images with {columns}"
    ):
        trans_rate(*sources[0])


def test_no_distortion_is_refused():
    with pytest.raises(SettingsError, match=r"it is 0\.0"):
        trans_rate(*plant(30, 3), epsilon=0.0)
