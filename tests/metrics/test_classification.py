"""Ranking and decision metrics against scikit-learn and naive loops."""

from __future__ import annotations

import warnings
from itertools import product

import numpy as np
import pytest
from sklearn import metrics as reference

from medgraft.errors import ShapeError
from medgraft.metrics.classification import (
    accuracy,
    auroc,
    average_precision,
    balanced_accuracy,
    confusion_matrix,
    recall_per_class,
)

NAN = float("nan")


def drawn(classes: int, rows: int = 90, seed: int = 0, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    scores = random.dirichlet(np.ones(classes), rows)
    return random.integers(0, classes, rows), np.round(scores, 1) if ties else scores


@pytest.mark.parametrize("ties", [False, True])
def test_auroc_counts_pairs_and_half_a_pair_for_a_tie(ties: bool) -> None:
    truth, scores = drawn(2, 40, ties=ties)
    cases, rest = scores[truth == 1, 1], scores[truth == 0, 1]
    pairs = [1.0 if c > r else 0.5 if c == r else 0.0 for c, r in product(cases, rest)]
    expected = sum(pairs) / len(pairs)
    assert auroc(truth, scores) == pytest.approx(expected)
    assert auroc(truth, scores[:, 1]) == auroc(truth, scores[:, 1:]) == auroc(truth, scores)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_binary_ranking_agrees_with_scikit_learn(ties: bool, seed: int) -> None:
    truth, scores = drawn(2, seed=seed, ties=ties)
    assert auroc(truth, scores) == pytest.approx(reference.roc_auc_score(truth, scores[:, 1]))
    expected = reference.average_precision_score(truth, scores[:, 1])
    assert average_precision(truth, scores) == pytest.approx(expected)


@pytest.mark.parametrize("ties", [False, True])
def test_macro_ranking_agrees_with_scikit_learn(ties: bool) -> None:
    truth, scores = drawn(4, ties=ties)
    one_hot = np.eye(4)[truth]
    assert auroc(truth, scores) == pytest.approx(reference.roc_auc_score(one_hot, scores, average="macro"))
    expected = reference.average_precision_score(one_hot, scores, average="macro")
    assert average_precision(truth, scores) == pytest.approx(expected)


def test_macro_leaves_out_classes_that_do_not_occur() -> None:
    truth, scores = drawn(4)
    truth[truth == 3] = 0
    columns = [reference.roc_auc_score(truth == k, scores[:, k]) for k in range(3)]
    assert auroc(truth, scores) == pytest.approx(np.mean(columns))


def test_multilabel_ranking_uses_known_cells_only() -> None:
    random = np.random.default_rng(5)
    truth, scores = random.integers(0, 2, (60, 3)).astype(float), random.random((60, 3))
    truth[random.random((60, 3)) < 0.3] = NAN
    truth[:, 2] = np.where(np.isnan(truth[:, 2]), NAN, 0.0)
    scores[np.isnan(truth)] = NAN  # what is not known is not looked at
    for ours, theirs, columns in [
        (auroc, reference.roc_auc_score, 2),
        (average_precision, reference.average_precision_score, 2),
    ]:
        known = [~np.isnan(truth[:, k]) for k in range(columns)]
        expected = [theirs(truth[there, k], scores[there, k]) for k, there in enumerate(known)]
        assert ours(truth, scores) == pytest.approx(np.mean(expected))


def test_ranking_is_undefined_without_both_classes_and_quietly_so() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(auroc([1, 1], [0.2, 0.9]))
        assert np.isnan(auroc([0, 0], [[0.2, 0.8], [0.3, 0.7]]))
        assert np.isnan(auroc(np.empty(0, int), np.empty((0, 3))))
        assert np.isnan(auroc([[NAN], [NAN]], [[0.1], [0.2]]))
        assert np.isnan(average_precision([0, 0], [0.2, 0.9]))
        assert average_precision([1, 1], [0.2, 0.9]) == 1.0


def test_scores_that_are_not_numbers_have_no_ranking() -> None:
    assert np.isnan(auroc([0, 1, 1], [0.1, NAN, 0.3]))
    assert np.isnan(average_precision([0, 1, 1], [0.1, NAN, 0.3]))


def test_decisions_agree_with_scikit_learn() -> None:
    truth, scores = drawn(4, 200)
    predicted = scores.argmax(1)
    predicted[:80] = truth[:80]
    assert accuracy(truth, predicted) == pytest.approx(reference.accuracy_score(truth, predicted))
    recalls = reference.recall_score(truth, predicted, average=None)
    np.testing.assert_allclose(recall_per_class(truth, predicted, 4), recalls)
    balanced = reference.balanced_accuracy_score(truth, predicted)
    assert balanced_accuracy(truth, predicted, 4) == pytest.approx(balanced)
    for normalise, name in [(False, None), (True, "true")]:
        expected = reference.confusion_matrix(truth, predicted, normalize=name)
        np.testing.assert_allclose(confusion_matrix(truth, predicted, 4, normalise=normalise), expected)


def test_a_class_without_cases_has_no_recall_and_does_not_count() -> None:
    recalls = recall_per_class([0, 0, 2], [0, 1, 2], classes=4)
    np.testing.assert_array_equal(recalls, [0.5, NAN, 1.0, NAN])
    assert balanced_accuracy([0, 0, 2], [0, 1, 2], classes=4) == 0.75
    assert confusion_matrix([0, 0, 2], [0, 1, 2], classes=4).sum() == 3
    assert np.isnan(balanced_accuracy([], [], classes=2))
    assert np.isnan(accuracy([], []))


def test_multilabel_accuracy_skips_unknown_cells() -> None:
    assert accuracy([[1, NAN], [0, 1]], [[1, 0], [1, 1]]) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("truth", "probabilities"),
    [([0, 1], [0.1, 0.2, 0.3]), ([[0, 1]], [[0.1, 0.2, 0.3]]), ([0, 1], [[[0.1]], [[0.2]]])],
)
def test_shapes_that_do_not_fit_are_told(truth: list[object], probabilities: list[object]) -> None:
    with pytest.raises(ShapeError, match="A ranking metric needs"):
        auroc(truth, probabilities)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("truth", "predicted"),
    [([0, 3], [0, 1]), ([0, 1], [0, -1]), ([0, 1], [0]), ([0, 1], [0.2, 0.7]), ([0, NAN], [0, 1])],
)
def test_confusion_refuses_what_is_no_class(truth: list[float], predicted: list[float]) -> None:
    with pytest.raises(ShapeError):
        confusion_matrix(truth, predicted, classes=3)
