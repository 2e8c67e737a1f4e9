"""PARC is the authors' number where asked, and always what loops over pairs give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from medgraft.errors import DataError, ShapeError
from medgraft.ranking.inputs import UndefinedError
from medgraft.ranking.scores import parc as module
from medgraft.ranking.scores.parc import pair_correlation, parc

GOLDEN = dict(np.load(Path(__file__).parents[2] / "golden" / "transferability_binary.npz"))
X, Y = GOLDEN["X"], GOLDEN["y"]
RNG = np.random.default_rng(7)


def looped(images, labels, likeness):
    one_hot = np.eye(labels.max() + 1)[labels]
    unlike, apart = [], []
    for i in range(len(labels)):
        for j in range(i + 1, len(labels)):
            apart.append(1 - likeness(images[i], images[j]))
            unlike.append(1 - np.corrcoef(one_hot[i], one_hot[j])[0, 1])
    return 100 * spearmanr(np.round(apart, 12), np.round(unlike, 12)).statistic


def pearson(a, b):
    return np.corrcoef(a, b)[0, 1]


def cosine(a, b):
    return a @ b / np.sqrt(a @ a * (b @ b))


def standardised_components(features):
    centred = features - features.mean(axis=0)
    components = centred @ np.linalg.svd(centred, full_matrices=False)[2].T
    return components / components.std(axis=0)


def centred_images(reduced):
    standard = (reduced - reduced.mean(axis=0, dtype=np.float64)) / reduced.std(axis=0, dtype=np.float64)
    return standard - standard.mean(axis=1, keepdims=True)


def test_the_authors_number_is_met_from_their_components():
    found = pair_correlation(centred_images(GOLDEN["parc_pca32"]), Y)
    assert found == pytest.approx(float(GOLDEN["parc"]), abs=1e-5)


def test_the_authors_number_is_met_from_their_features():
    assert parc(X, Y, variant="as_published") == pytest.approx(float(GOLDEN["parc"]), abs=0.05)


def test_the_authors_number_without_components_is_met():
    found = pair_correlation(centred_images(X), Y)
    assert found == pytest.approx(float(GOLDEN["parc_no_pca"]), abs=1e-4)


@pytest.mark.parametrize("classes", [2, 4])
def test_it_equals_the_definition_written_as_loops(classes):
    features, labels = RNG.normal(size=(24, 6)), np.arange(24) % classes
    features[:, :classes] += np.eye(classes)[labels]
    images = standardised_components(features)
    assert parc(features, labels) == pytest.approx(looped(images, labels, cosine), abs=1e-9)
    found = pair_correlation(centred_images(features), labels)
    standard = (features - features.mean(axis=0)) / features.std(axis=0)
    assert found == pytest.approx(looped(standard, labels, pearson), abs=1e-9)


def test_signs_of_components_move_the_published_score_only():
    images, flips = standardised_components(X[:, :20].astype(float)), np.where(np.arange(20) % 2, 1, -1)
    assert pair_correlation(images * flips, Y) == pytest.approx(pair_correlation(images, Y), abs=1e-9)
    moved = pair_correlation(centred_images(images * flips), Y) - pair_correlation(centred_images(images), Y)
    assert abs(moved) > 0.1


def test_an_average_image_is_neither_like_nor_unlike_others():
    images, labels = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]), np.array([0, 0, 1, 1])
    # distances 0, 1, 1, 1, 1, 1: ranks 1 and 4 (five times); unlike: the middle four
    expected = 100 * np.corrcoef([1, 4, 4, 4, 4, 4], [0, 1, 1, 1, 1, 0])[0, 1]
    assert pair_correlation(images, labels) == pytest.approx(expected, abs=1e-9)


def test_fewer_than_32_features_are_enough():
    labels = np.arange(20) % 2
    assert parc(labels[:, None] + np.linspace(0, 0.1, 20)[:, None], labels) == pytest.approx(100)
    assert parc(RNG.normal(size=(20, 2)) + labels[:, None] * [9, -9], labels) > 50


def test_too_many_images_are_refused_before_memory_is_full(monkeypatch):
    monkeypatch.setattr(module, "MOST_IMAGES", 100)
    with pytest.raises(ShapeError, match=r"at most 100 images, .* but there are 200\. Draw a part"):
        parc(X, Y)


@pytest.mark.parametrize(
    ("features", "labels", "error", "said"),
    [
        (np.ones_like(X), Y, UndefinedError, "features that differ"),
        (X[:2], np.array([0, 1]), UndefinedError, "all pairs are the same"),
        (X[:3], np.array([0, 1, 2]), UndefinedError, "all pairs are the same"),
        (X, Y * 0, UndefinedError, "two classes"),
        (X, Y * 2, DataError, "labels 0 to C-1"),
    ],
)
def test_what_it_cannot_score_is_refused(features, labels, error, said):
    with pytest.raises(error, match=f"PARC needs .*{said}"):
        parc(features, labels)
