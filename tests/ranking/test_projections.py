"""Projections are those of other libraries and hand-worked numbers; what they make of few images is told as it is."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.manifold import trustworthiness

from medgraft.errors import DataError, SettingsError, ShapeError
from medgraft.ranking.inputs import UndefinedError
from medgraft.ranking.projections import project_by_lda, project_by_nca, to_plane
from medgraft.ranking.scores.label_predictability import label_predictability
from medgraft.ranking.scores.nearest_neighbours import nearest_neighbours


def drawn(seed: int, n: int, d: int, classes: int = 3, apart: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    return random.normal(size=(n, d)) + apart * random.normal(size=(classes, d))[labels], labels


def distances(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, None] - points[None], axis=2)


@pytest.mark.parametrize("variant", ["scale_free", "as_published"])
def test_neighbours_under_nca_are_those_of_the_score(variant):
    features, labels = drawn(1, 60, 6, apart=0.6)
    projected = project_by_nca(features, labels, variant=variant)
    assert projected.shape == (60, 6)
    assert nearest_neighbours(projected, labels) == label_predictability(features, labels, variant=variant)


def test_nca_is_linear_and_leaves_what_it_was_given():
    features, labels = drawn(2, 40, 5)
    before = features.copy()
    projected = project_by_nca(features, labels)
    centred = features - features.mean(axis=0)
    matrix, *_ = np.linalg.lstsq(centred, projected, rcond=None)
    np.testing.assert_allclose(centred @ matrix, projected, atol=1e-9)
    np.testing.assert_array_equal(features, before)


@pytest.mark.parametrize("classes", [2, 4])
def test_distances_under_lda_are_those_of_another_library(classes, monkeypatch):
    features, labels = drawn(3, 90, 7, classes)
    monkeypatch.setattr("medgraft.ranking.projections.choose_shrinkage", lambda scatter, variant: 0.0)
    ours = project_by_lda(features.astype(np.float32), labels)
    assert ours.shape == (90, classes - 1)
    theirs = LinearDiscriminantAnalysis(solver="eigen").fit(features, labels).transform(features)
    np.testing.assert_allclose(distances(ours), distances(theirs), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shape", [(90, 7, 4), (30, 60, 3)])
def test_lda_solves_the_eigenproblem_of_the_shrunk_scatter(shape, monkeypatch):
    from scipy.linalg import eigh

    features, labels = drawn(3, *shape)
    monkeypatch.setattr("medgraft.ranking.projections.choose_shrinkage", lambda scatter, variant: 0.3)
    ours = project_by_lda(features, labels)
    own = np.stack([features[labels == label].mean(axis=0) for label in labels])
    within, between = ((one.T @ one) / len(one) for one in (features - own, own - features.mean(axis=0)))
    shrunk = 0.7 * within + 0.3 * np.trace(within) / len(within) * np.eye(len(within))
    _, vectors = eigh(between, shrunk)  # their scatter within classes is 1
    theirs = (features - features.mean(axis=0)) @ vectors[:, : -shape[2] : -1]
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), rtol=1e-7, atol=1e-9)


def test_lda_of_two_classes_is_worked_by_hand():
    features = [
        [0.0, 0.0],
        [2.0, 2.0],
        [0.0, 2.0],
        [2.0, 0.0],
        [10.0, 0.0],
        [12.0, 2.0],
        [10.0, 2.0],
        [12.0, 0.0],
    ]
    # within classes both variances are 1 and uncorrelated, whatever the shrinkage; means are (1, 1) and (11, 1)
    found = project_by_lda(features, [0, 0, 0, 0, 1, 1, 1, 1])[:, 0]
    np.testing.assert_allclose(np.abs(found), [6, 4, 6, 4, 4, 6, 4, 6], atol=1e-12)
    assert len(set(np.sign(found[:4]))) == 1 and (np.sign(found[:4]) == -np.sign(found[4:])).all()


def test_lda_forgets_the_scale_and_place_of_features():
    features, labels = drawn(4, 50, 8)
    once, again = project_by_lda(features, labels), project_by_lda(1e-3 * features + 5, labels)
    np.testing.assert_allclose(distances(once), distances(again), rtol=1e-6)


class TestFewImages:
    """200 images of two classes, 512 features: the thesis says that LDA lets classes fall onto points and NCA does not.

    What comes out: true of the discriminant as it was published, whose shrinkage is next to nothing here, even where
    labels have no relation to features; not of the shrinkage that SFDA has here by default. NCA does not collapse. But
    a collapse is no sign that nothing was learned: where classes do differ, it is the collapsing LDA that tells new
    images apart.
    """

    @staticmethod
    def images(apart: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        fixed = np.random.default_rng(5)
        common, direction = fixed.normal(size=(20, 512)), fixed.normal(size=512) / np.sqrt(512)
        random, labels = np.random.default_rng(seed), np.arange(200) % 2
        noise = random.normal(size=(200, 20)) @ common + random.normal(size=(200, 512))
        return noise + apart * direction * labels[:, None], labels

    @staticmethod
    def width(points: np.ndarray, labels: np.ndarray) -> float:
        """Variance within classes by that between their means."""
        means = np.stack([points[labels == label].mean(axis=0) for label in (0, 1)])
        within = np.square(points - means[labels]).sum(axis=1).mean()
        return float(within / np.square(means - means.mean(axis=0)).sum(axis=1).mean())

    @pytest.mark.parametrize("apart", [0.0, 10.0])
    def test_published_lda_collapses_and_nca_does_not(self, apart):
        features, labels = self.images(apart, 6)
        lda = project_by_lda(features, labels, variant="as_published")
        assert self.width(lda, labels) < 1e-12 and nearest_neighbours(lda, labels) == 1
        nca = project_by_nca(features, labels)
        assert self.width(nca, labels) > 2 and nearest_neighbours(nca, labels) < 0.95

    @pytest.mark.parametrize(("apart", "narrowest"), [(0.0, 2.0), (10.0, 0.03)])
    def test_lda_with_our_shrinkage_does_not_collapse(self, apart, narrowest):
        features, labels = self.images(apart, 6)
        assert self.width(project_by_lda(features, labels), labels) > narrowest

    @pytest.mark.parametrize(
        ("project", "variant", "apart", "here", "new"),  # as docs/ranking.md prints them
        [
            (project_by_lda, "as_published", 0.0, 1.0, 0.49),
            (project_by_lda, "as_published", 10.0, 1.0, 1.0),
            (project_by_lda, "scale_free", 0.0, 0.58, 0.51),
            (project_by_lda, "scale_free", 10.0, 0.98, 0.90),
            (project_by_nca, "scale_free", 0.0, 0.66, 0.51),
            (project_by_nca, "scale_free", 10.0, 0.73, 0.53),
        ],
    )
    def test_new_images_show_whether_something_was_learned(self, project, variant, apart, here, new):
        features, labels = self.images(apart, 6)
        others, its_labels = self.images(apart, 7)
        centre = features.mean(axis=0)
        projected = project(features, labels, variant=variant)
        # both maps lie in the span of the images, so that the smallest map with these values is theirs
        matrix, *_ = np.linalg.lstsq(features - centre, projected, rcond=None)
        assert nearest_neighbours(projected, labels) == pytest.approx(here, abs=0.02)
        assert nearest_neighbours((others - centre) @ matrix, its_labels) == pytest.approx(new, abs=0.02)


def test_a_layout_keeps_neighbours_and_repeats():
    features, labels = drawn(8, 90, 30)
    before = features.copy()
    layout = to_plane(features, seed=3)
    assert layout.shape == (90, 2)
    assert trustworthiness(features, layout, n_neighbors=5) > 0.85
    assert nearest_neighbours(layout, labels) > 0.95
    np.testing.assert_array_equal(layout, to_plane(features.copy(), seed=3))
    np.testing.assert_array_equal(features, before)


@pytest.mark.parametrize("n", [5, 6, 9])
def test_few_images_are_laid_out_too(n):
    layout = to_plane(np.random.default_rng(0).normal(size=(n, 40)).astype(np.float32))
    assert layout.shape == (n, 2) and np.isfinite(layout).all()


def test_features_of_one_or_two_dimensions_are_shown_as_they_are():
    points = np.random.default_rng(0).normal(size=(8, 2))
    np.testing.assert_array_equal(to_plane(points), points)
    np.testing.assert_array_equal(to_plane(points[:, :1])[:, 1], 0)


def test_a_collapsed_class_is_laid_out_without_a_complaint():
    labels = np.arange(40) % 4
    assert np.isfinite(to_plane(np.eye(4)[labels])).all()


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: to_plane(np.ones((4, 3))), UndefinedError, "t-SNE needs 5 images"),
        (lambda: to_plane(np.ones((6, 3))), UndefinedError, "all 6 rows are equal"),
        (lambda: to_plane(np.ones(6)), ShapeError, "one row per image"),
        (lambda: to_plane([[np.nan, 1.0, 2.0]] * 6), DataError, "finite"),
        (lambda: project_by_nca(np.eye(4), [0, 0, 0, 0]), UndefinedError, "NCA needs images of two classes"),
        (
            lambda: project_by_nca(np.ones((4, 2)), [0, 0, 1, 1]),
            UndefinedError,
            "NCA needs features that differ",
        ),
        (lambda: project_by_nca(np.zeros((10_001, 1)), np.arange(10_001) % 2), ShapeError, "at most 10000"),
        (
            lambda: project_by_lda([[0.0], [0.0], [1.0]], [0, 0, 1]),
            UndefinedError,
            "LDA needs features that differ",
        ),
        (
            lambda: project_by_lda([[0.0], [2.0], [0.0], [2.0]], [0, 0, 1, 1]),
            UndefinedError,
            "mean features differ",
        ),
        (lambda: project_by_lda(np.eye(4), [0, 0, 1, 1], variant="mine"), SettingsError, "'mine'"),
    ],
)
def test_what_cannot_be_projected_is_one_sentence(call, error, said):
    with pytest.raises(error, match=said):
        call()
