"""SFDA is the authors' number where asked, independent of scale otherwise, and silent where it saturates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import linalg
from scipy.special import softmax

from medgraft.errors import DataError
from medgraft.ranking.inputs import UndefinedError, check_inputs
from medgraft.ranking.scores.sfda import (
    choose_shrinkage,
    class_probabilities,
    fit_discriminant,
    measure_scatter,
    mix_by_confidence,
    sfda,
)

GOLDEN = dict(np.load(Path(__file__).parents[2] / "golden" / "transferability_binary.npz"))
X, Y = GOLDEN["X"], GOLDEN["y"]
RNG = np.random.default_rng(5)


def by_eigenvectors(features, labels, shrinkage):
    """The published way: the generalised eigenproblem, all directions kept; and with loops over classes."""
    classes = range(labels.max() + 1)
    shares = [np.mean(labels == c) for c in classes]
    within = sum(p * np.cov(features[labels == c].T, bias=True) for p, c in zip(shares, classes))
    total = np.cov(features.T, bias=True)

    def shrunk(matrix):
        return (1 - shrinkage) * matrix + shrinkage * np.trace(matrix) / len(matrix) * np.eye(len(matrix))

    _, directions = linalg.eigh(shrunk(total) - shrunk(within), shrunk(within))
    means = np.stack([features[labels == c].mean(axis=0) for c in classes])
    weights = means @ directions @ directions.T
    bias = -0.5 * np.diag(means @ weights.T) + np.log(shares)
    return softmax(features @ weights.T + bias, axis=1)


def test_every_step_is_the_authors_number():
    inputs = check_inputs("SFDA", X.astype(np.float64), Y)
    scatter = measure_scatter(inputs)
    shrinkage = choose_shrinkage(scatter, "as_published")
    assert shrinkage == pytest.approx(float(GOLDEN["sfda_shrinkage_float64"]), rel=1e-9)
    first = class_probabilities(inputs.features, fit_discriminant(scatter, shrinkage))
    np.testing.assert_allclose(first, GOLDEN["sfda_first_proba_float64"], atol=1e-9)
    moved = mix_by_confidence(inputs, scatter.means, first)
    np.testing.assert_allclose(moved, GOLDEN["sfda_confmixed_X_float64"], atol=1e-6)


def test_the_authors_score_is_met_in_both_precisions():
    double = sfda(X.astype(np.float64), Y, variant="as_published")
    assert double == pytest.approx(float(GOLDEN["sfda_float64"]), abs=1e-9)
    assert sfda(X, Y, variant="as_published") == pytest.approx(float(GOLDEN["sfda_float32"]), abs=1e-6)


@pytest.mark.parametrize("shrinkage", [0.001, 0.3, 1.0])
def test_no_decomposition_is_needed_for_what_all_directions_give(shrinkage):
    labels = np.sort(np.arange(70) % 4)
    features = RNG.normal(size=(70, 9)) @ RNG.normal(size=(9, 9)) + labels[:, None]
    fitted = fit_discriminant(measure_scatter(check_inputs("SFDA", features, labels)), shrinkage)
    expected = by_eigenvectors(features, labels, shrinkage)
    np.testing.assert_allclose(class_probabilities(features, fitted), expected, atol=1e-9)


def test_an_unsure_image_moves_towards_the_mean_of_the_other_classes():
    inputs = check_inputs("SFDA", [[1.0], [0.0], [0.0]], [0, 1, 2])
    means = np.array([[0.0], [2.0], [6.0]])
    sure, unsure = np.e / (np.e + 2), 1 / 3  # softmax of (1, 0, 0) and of equal ones
    chances = np.array([[1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3], [1 / 3, 1 / 3, 1 / 3]])
    moved = mix_by_confidence(inputs, means, chances)
    expected = [[sure * 1 + (1 - sure) * 4], [(1 - unsure) * 3], [(1 - unsure) * 1]]
    np.testing.assert_allclose(moved, expected, atol=1e-12)


def test_the_largest_eigenvalue_sets_the_shrinkage():
    labels = np.arange(400) % 2
    features = RNG.normal(size=(400, 3)) * [1.0, 0.3, 0.1]
    scatter = measure_scatter(check_inputs("SFDA", features, labels))
    largest = np.linalg.eigvalsh(scatter.within)[-1]
    assert choose_shrinkage(scatter, "as_published") == pytest.approx(np.exp(-5 * largest), rel=1e-3)
    share = largest / features.var(axis=0).sum()
    assert choose_shrinkage(scatter, "scale_free") == pytest.approx(np.exp(-5 * share), rel=1e-3)


def test_permuted_labels_look_perfect_with_too_few_images_so_nothing_is_said():
    features, labels = RNG.normal(size=(40, 60)) * 3, RNG.permutation(np.arange(40) % 2)
    assert sfda(features, labels, variant="as_published") == pytest.approx(1.0, abs=1e-6)
    with pytest.raises(
        UndefinedError, match="at least 62 images for 60 features and 2 classes, but there are 40"
    ):
        sfda(features, labels)


def test_columns_that_never_change_need_no_images():
    features, labels = RNG.normal(size=(40, 5)), np.arange(40) % 2
    wide = np.hstack([features, np.full((40, 60), 0.25)])
    assert 0 < sfda(wide, labels) < 1


def test_the_callers_features_stay_as_they_are():
    features = X.copy()
    sfda(features, Y)
    np.testing.assert_array_equal(features, X)


@pytest.mark.parametrize(
    ("features", "labels", "error", "said"),
    [
        (np.ones((20, 3)) * 0.1, np.arange(20) % 2, UndefinedError, "images of one class"),
        (np.eye(2)[np.arange(20) % 2] + 0.3, np.arange(20) % 2, UndefinedError, "images of one class"),
        (X, Y * 0, UndefinedError, "two classes"),
        (X, Y + 1, DataError, "labels 0 to C-1"),
        (np.full_like(X, np.inf), Y, DataError, "finite"),
    ],
)
def test_what_it_cannot_score_is_refused(features, labels, error, said):
    with pytest.raises(error, match=f"SFDA needs .*{said}"):
        sfda(features, labels)
