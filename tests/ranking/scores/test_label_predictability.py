"""Label predictability is the authors' number where asked; by itself no image is its own neighbour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier, NeighborhoodComponentsAnalysis
from sklearn.pipeline import make_pipeline

from medgraft.errors import DataError, SettingsError, ShapeError
from medgraft.ranking.inputs import UndefinedError
from medgraft.ranking.scores import label_predictability as module
from medgraft.ranking.scores.label_predictability import label_predictability
from medgraft.ranking.scores.nearest_neighbours import neighbour_agreement

GOLDEN = dict(np.load(Path(__file__).parents[2] / "golden" / "transferability_binary.npz"))
X, Y = GOLDEN["X"], GOLDEN["y"]
RNG = np.random.default_rng(13)


def test_the_authors_number_is_met_from_their_projection():
    found = neighbour_agreement(GOLDEN["lp_nca_embedding"], Y, exclude_self=False)
    assert found == pytest.approx(float(GOLDEN["lp"]), abs=1e-12)


def test_the_authors_number_is_met_from_their_features():
    found = label_predictability(X, Y, exclude_self=False, variant="as_published")
    assert found == pytest.approx(float(GOLDEN["lp"]), abs=0.02)


@pytest.mark.parametrize("exclude_self", [True, False])
def test_neighbours_are_those_that_loops_find(exclude_self):
    points, labels = RNG.normal(size=(40, 3)), np.arange(40) % 3
    shares = []
    for i in range(40):
        order = sorted(range(40), key=lambda j: np.linalg.norm(points[i] - points[j]))
        nearest = [j for j in order if j != i or not exclude_self][:5]
        shares.append(np.mean([labels[j] == labels[i] for j in nearest]))
    assert neighbour_agreement(points, labels, exclude_self=exclude_self) == pytest.approx(np.mean(shares))


def test_labels_without_any_relation_look_less_predictable_without_oneself():
    labels = RNG.permutation(Y)
    within = label_predictability(X, labels, exclude_self=False)
    without = label_predictability(X, labels)
    assert 0.5 < without < within - 0.05  # even so above chance: the projection has seen the labels


def test_labels_without_any_relation_are_left_to_chance_by_folds():
    labels = RNG.permutation(Y)
    assert label_predictability(X, labels, folds=4) == pytest.approx(0.5, abs=0.08)
    assert label_predictability(X, Y, folds=4) > 0.7


def test_an_image_is_judged_by_a_projection_and_neighbours_of_other_folds():
    features, labels = RNG.normal(size=(30, 4)), np.arange(30) % 2
    features[:, 0] += 2 * labels
    points = features - features.mean(axis=0)
    points /= np.sqrt((points**2).sum(axis=1).mean())
    shares = []
    for seen, held in StratifiedKFold(3, shuffle=True, random_state=42).split(points, labels):
        vote = KNeighborsClassifier(5)
        judge = make_pipeline(NeighborhoodComponentsAnalysis(n_components=4, random_state=42), vote)
        chances = judge.fit(points[seen], labels[seen]).predict_proba(points[held])
        shares.extend(chances[np.arange(len(held)), labels[held]])
    assert label_predictability(features, labels, folds=3) == pytest.approx(np.mean(shares), abs=1e-9)


def test_fewer_than_50_features_are_enough():
    labels = np.arange(40) % 2
    assert label_predictability(RNG.normal(size=(40, 3)) + 9 * labels[:, None], labels) == 1.0


def test_the_callers_features_and_the_global_generator_are_left_alone():
    features, before = X.copy(), np.random.get_state()[1].copy()  # noqa: NPY002
    label_predictability(features[:60], Y[:60])
    np.testing.assert_array_equal(features, X)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_too_many_images_are_refused_before_memory_is_full(monkeypatch):
    monkeypatch.setattr(module, "MOST_IMAGES", 100)
    with pytest.raises(ShapeError, match=r"at most 100 images, .* but there are 200\. Draw a part"):
        label_predictability(X, Y)


@pytest.mark.parametrize(
    ("features", "labels", "folds", "error", "said"),
    [
        (np.ones_like(X), Y, None, UndefinedError, "features that differ"),
        (
            X[:6],
            np.arange(6) % 2,
            None,
            UndefinedError,
            "5 neighbours for each image, but there are 6 images",
        ),
        (X[:8], np.arange(8) % 2, 2, UndefinedError, "5 neighbours for each image, but there are 8 images"),
        (X[:40], np.arange(40) // 37, 5, UndefinedError, "5 images of every class.*but one class has 3"),
        (X, Y, 1, SettingsError, "two folds or more, but folds is 1"),
        (X, Y * 0, None, UndefinedError, "two classes"),
        (X, Y - 1, None, DataError, "labels 0 to C-1"),
    ],
)
def test_what_it_cannot_score_is_refused(features, labels, folds, error, said):
    with pytest.raises(error, match=f"Label predictability needs .*{said}"):
        label_predictability(features, labels, folds=folds)
