"""CC-FV against matrix roots, loops and numbers worked by hand."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from medgraft.errors import DataError, ShapeError
from medgraft.ranking.inputs import UndefinedError
from medgraft.ranking.scores.cc_fv import cc_fv, cc_fv_terms, gaussian_distance

IMAGES = np.repeat(np.arange(4), 30)
LABELS = np.tile(np.repeat([0, 1, 2], 10), 4)


def features_of(shift: float = 0.0, seed: int = 0, width: int = 5) -> np.ndarray:
    """Three classes apart, and every image shifted by its own amount."""
    rng = np.random.default_rng(seed)
    centres, shifts = rng.normal(size=(3, width)) * 4, rng.normal(size=(4, width))
    return rng.normal(size=(len(LABELS), width)) + centres[LABELS] + shift * shifts[IMAGES]


def distance_by_roots(one: np.ndarray, other: np.ndarray) -> float:
    """The formula as it is written."""
    a, b = np.cov(one.T), np.cov(other.T)
    root = sqrtm(a)
    trace = np.trace(a + b - 2 * np.real(sqrtm(root @ b @ root)))
    return float(np.sqrt(((one.mean(0) - other.mean(0)) ** 2).sum() + trace))


def naive_terms(features: np.ndarray, foreground: tuple[int, ...]) -> tuple[float, float]:
    """Equation by equation, pair by pair, for images that show every class."""
    total = 0.0
    for label in foreground:
        for i in range(4):
            for j in range(4):
                if i != j:
                    clouds = [features[(image == IMAGES) & (label == LABELS)] for image in (i, j)]
                    total += distance_by_roots(*clouds)
    varieties = []
    for image in range(4):
        unit = [row / np.linalg.norm(row) for row in features[image == IMAGES]]
        energies = [(((a - b) ** 2).sum() + 1e-3) ** -0.5 for a, b in combinations(unit, 2)]
        varieties.append(1 / np.mean(energies))
    return total / (4 * 3), float(np.mean(varieties))


@pytest.mark.parametrize("background", [0, None, 2])
def test_the_terms_are_those_of_the_equations(background: int | None) -> None:
    features = features_of(shift=0.5)
    found = cc_fv_terms(features, LABELS, IMAGES, background=background)
    assert found == pytest.approx(naive_terms(features, tuple({0, 1, 2} - {background})), rel=1e-6)


def test_layers_are_averaged_after_the_logarithm() -> None:
    layers = {"decoder2": features_of(0.5, seed=1, width=7), "decoder1": features_of(0.2, seed=2)}
    terms = [naive_terms(layer, (1, 2)) for layer in layers.values()]
    wanted = np.mean([np.log(variety / inconsistency) for inconsistency, variety in terms])
    assert cc_fv(layers, LABELS, IMAGES) == pytest.approx(wanted, rel=1e-6)


def test_the_distance_of_gaussians_on_a_line_is_that_of_means_and_deviations() -> None:
    assert gaussian_distance([[0.0], [2.0]], [[3.0], [7.0]]) == pytest.approx(np.sqrt(16 + 2))
    assert gaussian_distance(np.eye(3), np.eye(3)) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("width", [3, 40])
def test_the_distance_holds_with_fewer_pixels_than_features(width: int) -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(12, width)), 2 * rng.normal(size=(9, width)) + 1
    assert gaussian_distance(one, other) == pytest.approx(distance_by_roots(one, other), rel=1e-3)
    assert gaussian_distance(one, other) == pytest.approx(gaussian_distance(other, one), rel=1e-12)


def test_sources_are_ordered_by_how_little_images_shift() -> None:
    scores = [cc_fv({"decoder1": features_of(shift)}, LABELS, IMAGES) for shift in (0, 0.5, 1, 2, 4)]
    assert scores == sorted(scores, reverse=True) and len(set(scores)) == 5


def test_features_of_many_directions_are_more_varied_than_those_of_one() -> None:
    spread = features_of()
    narrow = spread + 50 * np.eye(5)[0]  # a common part that turns all directions into one
    shifted = [cc_fv_terms(features, LABELS, IMAGES) for features in (spread, narrow)]
    assert shifted[0].inconsistency == pytest.approx(shifted[1].inconsistency)
    assert shifted[0].variety > 2 * shifted[1].variety


def test_twice_the_scale_costs_ln_2() -> None:
    features = features_of(0.5)
    one, two = (cc_fv({"decoder1": scale * features}, LABELS, IMAGES) for scale in (1, 2))
    assert two == pytest.approx(one - np.log(2))


def test_images_that_do_not_show_a_class_are_left_out_of_its_mean() -> None:
    keep = ~((IMAGES == 3) & (LABELS == 2))
    features = features_of(0.5)
    found = cc_fv_terms(features[keep], LABELS[keep], IMAGES[keep], background=0).inconsistency
    means = [
        np.mean([
            distance_by_roots(*(features[(image == IMAGES) & (label == LABELS)] for image in pair))
            for pair in combinations(range(images), 2)
        ])
        for label, images in ((1, 4), (2, 3))
    ]  # fmt: skip
    assert found == pytest.approx(sum(means), rel=1e-6)


def test_pixels_without_any_feature_are_taken() -> None:
    features = np.maximum(0, features_of(0.5)).astype(np.float32)
    features[::7] = 0
    before = features.copy()
    assert np.isfinite(cc_fv({"decoder1": features}, LABELS, IMAGES))
    assert np.array_equal(features, before)


def test_what_says_nothing_is_told() -> None:
    features = features_of()
    with pytest.raises(UndefinedError, match="same in all"):
        cc_fv({"decoder1": np.ones_like(features)}, LABELS, IMAGES)
    with pytest.raises(UndefinedError, match="each of two images"):
        cc_fv({"decoder1": features}, LABELS, np.zeros_like(IMAGES))
    with pytest.raises(UndefinedError, match="all belong to one"):
        cc_fv({"decoder1": features}, np.zeros_like(LABELS), IMAGES)
    with pytest.raises(ShapeError, match="image of every pixel"):
        cc_fv({"decoder1": features}, LABELS, IMAGES[:-1])
    with pytest.raises(ShapeError, match="one layer or more"):
        cc_fv({}, LABELS, IMAGES)
    with pytest.raises(DataError, match="row 5 are not"):
        cc_fv(
            {"decoder1": np.where(np.arange(len(features))[:, None] == 5, np.nan, features)}, LABELS, IMAGES
        )
