"""LogME against stored reference values and against the Gaussian marginal likelihood computed directly.

tests/golden/transferability_binary.npz: features with the values of DovileDo/transferability-in-medical-imaging,
src/metrics.py 7e308c4 (MIT), whose LogME is that of thuml/LogME 56551ca; relative tolerance 1e-6.
"""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from medgraft.ranking.inputs import UndefinedError
from medgraft.ranking.scores import gram as gram_module
from medgraft.ranking.scores import log_me as module
from medgraft.ranking.scores.log_me import log_me

GOLDEN = np.load(Path(__file__).parents[2] / "golden" / "transferability_binary.npz")


def plant(images, columns, classes=3, strength=0.5, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(images) % classes
    centres = strength * rng.normal(size=(classes, columns))
    return np.maximum(centres[labels] + rng.normal(size=(images, columns)), 0).astype(np.float32), labels


def search_by_hand(features, indicator):
    """Alpha, beta and the published evidence of one class, term by term from a thin SVD."""
    images, columns = features.shape
    left, singular, _ = np.linalg.svd(features.astype(float), full_matrices=False)
    alpha = beta = 1.0
    for _ in range(11):
        ratio = alpha / beta
        explained = size = misfit = 0.0
        for vector, value in zip(left.T, singular**2):
            coordinate = float(vector @ indicator)
            explained += value / (value + ratio)
            size += value * coordinate**2 / (value + ratio) ** 2
            misfit += coordinate**2 / (1 + value / ratio) ** 2 - coordinate**2
        misfit += float(indicator @ indicator)
        alpha, beta = explained / (size + 1e-5), (images - explained) / (misfit + 1e-5)
        if abs(alpha / beta - ratio) / ratio <= 1e-3:
            break
    evidence = columns / 2 * np.log(alpha) + images / 2 * np.log(beta) - images / 2 * np.log(2 * np.pi)
    evidence -= sum(np.log(alpha + beta * value) for value in singular**2) / 2
    return alpha, beta, (evidence - beta / 2 * misfit - alpha / 2 * size) / images


def marginal_likelihood(features, labels):
    """Log density of the indicators under N(0, I / beta + F F' / alpha), per image."""
    wide, total = features.astype(float), 0.0
    for label in np.unique(labels):
        indicator = (labels == label).astype(float)
        alpha, beta, _ = search_by_hand(features, indicator)
        covariance = np.eye(len(wide)) / beta + wide @ wide.T / alpha
        total += multivariate_normal(np.zeros(len(wide)), covariance).logpdf(indicator) / len(wide)
    return total / len(np.unique(labels))


@pytest.mark.parametrize("variant", ["exact", "as_published"])
def test_stored_reference_is_reproduced(variant):
    score = log_me(GOLDEN["X"], GOLDEN["y"], variant=variant)
    assert score == pytest.approx(float(GOLDEN["logme_fixed_point"]), rel=1e-6)


def test_stored_icml_reference_differs_by_its_two_guards():
    # That variant also subtracts its guard of 1e-5 with alpha and beta in the two quadratic terms.
    guards = (GOLDEN["logme_alphas"] + GOLDEN["logme_betas"]).mean() * 1e-5 / 2 / len(GOLDEN["y"])
    assert log_me(GOLDEN["X"], GOLDEN["y"]) - guards == pytest.approx(float(GOLDEN["logme_icml"]), abs=1e-6)


@pytest.mark.parametrize(
    ("images", "columns", "strength"),
    [(90, 20, 0.5), (60, 60, 0.5), (61, 60, 0.5), (40, 130, 0.5), (40, 130, 0.0), (60, 256, 1.0)],
)
def test_exact_is_the_marginal_likelihood_on_either_side_of_n_equal_d(images, columns, strength):
    features, labels = plant(images, columns, strength=strength)
    assert log_me(features, labels) == pytest.approx(marginal_likelihood(features, labels), rel=1e-7)


def test_exact_is_the_marginal_likelihood_of_repeated_columns():
    features, labels = plant(80, 12)
    repeated = np.hstack([features, features])
    assert log_me(repeated, labels) == pytest.approx(marginal_likelihood(repeated, labels), rel=1e-7)


@pytest.mark.parametrize(("images", "columns", "dead"), [(80, 20, 16), (80, 20, 200), (40, 130, 50)])
def test_columns_of_zeros_change_nothing(images, columns, dead):
    features, labels = plant(images, columns)
    padded = np.hstack([features[:, :5], np.zeros((images, dead), np.float32), features[:, 5:]])
    assert log_me(padded, labels) == pytest.approx(log_me(features, labels), rel=1e-9)


@pytest.mark.parametrize(("images", "columns"), [(90, 20), (60, 60), (40, 130)])
def test_both_gram_matrices_give_the_same_score(images, columns, monkeypatch):
    features, labels = plant(images, columns)
    score = log_me(features, labels)
    monkeypatch.setattr(module, "_decompose_rows", module._decompose_columns)
    by_columns = log_me(features, labels)
    monkeypatch.undo()
    monkeypatch.setattr(module, "_decompose_columns", module._decompose_rows)
    assert score == pytest.approx(by_columns, rel=1e-8) == pytest.approx(log_me(features, labels), rel=1e-8)


@pytest.mark.parametrize(("images", "columns", "strength"), [(90, 20, 0.5), (40, 130, 0.5), (40, 130, 0.0)])
def test_as_published_is_the_published_sum(images, columns, strength):
    features, labels = plant(images, columns, strength=strength)
    published = np.mean([search_by_hand(features, (labels == label).astype(float))[2] for label in range(3)])
    assert log_me(features, labels, variant="as_published") == pytest.approx(published, rel=1e-9)


def test_the_published_score_is_inflated_by_columns_of_zeros_where_images_are_few():
    features, labels = plant(40, 130)
    padded = np.hstack([features, np.zeros((40, 400), np.float32)])
    scores = [log_me(array, labels, variant="as_published") for array in (features, padded)]
    assert scores[0] > log_me(features, labels) + 1 and scores[1] > scores[0] + 1


@pytest.mark.parametrize(("images", "columns"), [(120, 30), (60, 300)])
def test_true_labels_are_more_probable_than_shuffled_ones(images, columns):
    features, labels = plant(images, columns)
    rng = np.random.default_rng(5)
    assert log_me(features, labels) > max(log_me(features, rng.permutation(labels)) for _ in range(10))


def test_features_that_fit_every_label_have_a_finite_score():
    features = np.eye(30)
    assert np.isfinite(log_me(1e12 * features, np.arange(30) % 2))
    assert log_me(1e3 * features, np.arange(30) % 2) == pytest.approx(
        marginal_likelihood(1e3 * features, np.arange(30) % 2), rel=1e-6
    )


def test_features_that_say_nothing_are_refused_and_not_scored():
    with pytest.raises(UndefinedError, match="all 6 rows are equal"):
        log_me(np.zeros((6, 3)), [0, 1, 0, 1, 0, 1])


def test_memory_stays_far_below_a_copy_of_the_features(monkeypatch):
    monkeypatch.setattr(gram_module, "NUMBERS", 2**15)
    features = np.random.default_rng(0).normal(size=(40_000, 64)).astype(np.float32)
    tracemalloc.start()
    log_me(features, np.arange(40_000) % 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < features.nbytes / 2
