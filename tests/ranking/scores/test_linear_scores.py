"""What all scores of features by linear algebra, neighbours or a probe promise."""

from __future__ import annotations

import numpy as np
import pytest

from medgraft.errors import DataError
from medgraft.ranking.inputs import UndefinedError
from medgraft.ranking.scores.gbc import gbc
from medgraft.ranking.scores.h_score import h_score
from medgraft.ranking.scores.linear_probe import linear_probe
from medgraft.ranking.scores.log_me import log_me
from medgraft.ranking.scores.nearest_neighbours import nearest_neighbours
from medgraft.ranking.scores.trans_rate import trans_rate

SCORES = [gbc, h_score, linear_probe, log_me, nearest_neighbours, trans_rate]
STRENGTHS = [0.05, 0.2, 0.35, 0.55, 0.9]


def plant(strength, images=240, columns=24, classes=4, seed=0):
    """ReLU features of uneven columns whose classes lie `strength` apart in units of their noise."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(images) % classes)
    features = strength * rng.normal(size=(classes, columns))[labels] + rng.normal(size=(images, columns))
    return np.maximum(features * np.linspace(1.5, 0.5, columns) + 1, 0).astype(np.float32), labels


def planted_scores(score, ease=1.0, **shape):
    return [score(*plant(ease * strength, **shape)) for strength in STRENGTHS]


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_planted_quality_is_ranked_in_order(score, seed):
    assert (np.diff(planted_scores(score, seed=seed)) > 0).all()


@pytest.mark.parametrize("score", [gbc, h_score, log_me, nearest_neighbours])
@pytest.mark.parametrize("classes", [2, 5])
def test_planted_quality_is_ranked_in_order_with_fewer_images_than_features(score, classes):
    # More columns make classes easier to tell apart; at full strength neighbours reach their ceiling of 1.
    scores = planted_scores(score, ease=0.5, images=100, columns=150, classes=classes)
    assert (np.diff(scores) > 0).all()


@pytest.mark.parametrize("score", [gbc, h_score, linear_probe, log_me, nearest_neighbours])
def test_planted_quality_of_two_classes_is_ranked_in_order(score):
    assert (np.diff(planted_scores(score, classes=2)) > 0).all()


@pytest.mark.parametrize("score", SCORES)
def test_true_labels_score_higher_than_shuffled_ones(score):
    features, labels = plant(0.5)
    rng = np.random.default_rng(0)
    assert score(features, labels) > max(score(features, rng.permutation(labels)) for _ in range(5))


@pytest.mark.parametrize("score", SCORES)
def test_result_is_a_number_repeats_and_leaves_its_inputs_alone(score):
    features, labels = plant(0.5)
    kept = features.copy(), labels.copy()
    features.setflags(write=False)
    labels.setflags(write=False)
    first = score(features, labels)
    assert type(first) is float and np.isfinite(first) and score(features, labels) == first
    assert (features == kept[0]).all() and (labels == kept[1]).all()


@pytest.mark.parametrize("score", SCORES)
def test_single_precision_is_as_good_as_double(score):
    features, labels = plant(0.5)
    tolerance = 2e-3 if score is linear_probe else 1e-9  # the probe is fitted in the precision it gets
    assert score(features.astype(np.float64), labels) == pytest.approx(score(features, labels), rel=tolerance)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda features, labels: (np.ones_like(features), labels), UndefinedError, "all 240 rows are equal"),
        (lambda features, labels: (features, np.zeros_like(labels)), UndefinedError, "all belong to one"),
        (lambda features, labels: (features, labels + 1), DataError, "they are 1, 2, 3, 4"),
        (
            lambda features, labels: (np.where(features > 0, features, np.nan), labels),
            DataError,
            "those of row",
        ),
    ],
)
def test_what_says_nothing_or_is_wrong_is_refused(score, change, error, said):
    with pytest.raises(error) as told:
        score(*change(*plant(0.5)))
    assert said in str(told.value)
