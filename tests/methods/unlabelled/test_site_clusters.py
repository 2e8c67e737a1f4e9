"""Clusters and their matching, against tests/golden/aiva.npz and against all permutations."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from medgraft.errors import DataError
from medgraft.methods.unlabelled.site_clusters import cluster_points, cluster_sites, match_clusters

GOLDEN = np.load(Path(__file__).parents[2] / "golden" / "aiva.npz")


def test_the_matching_is_the_authors_and_not_the_greedy_one() -> None:
    found = match_clusters(GOLDEN["target_centers"], GOLDEN["source_centers"])
    assert found.tolist() == GOLDEN["match_target_to_source"].tolist()
    assert found.tolist() != GOLDEN["greedy_argmin"].tolist()
    apart = GOLDEN["target_centers"] - GOLDEN["source_centers"][found]
    assert np.square(apart).sum() == pytest.approx(float(GOLDEN["total_cost_eq1"]), abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_no_permutation_is_better(seed: int) -> None:
    rng = np.random.default_rng(seed)
    target, source = rng.normal(size=(2, 6, 2))
    found = match_clusters(target, source)
    assert sorted(found) == list(range(6))
    sums = [np.square(target - source[list(order)]).sum() for order in itertools.permutations(range(6))]
    assert np.square(target - source[found]).sum() == pytest.approx(min(sums), rel=1e-12)


def blobs(centres: np.ndarray, each: int, seed: int) -> np.ndarray:
    return (centres[:, None] + np.random.default_rng(seed).normal(0, 0.1, (len(centres), each, 2))).reshape(
        -1, 2
    )


CORNERS = np.array([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0], [5.0, 5.0]])


def test_a_shifted_site_is_matched_cluster_by_cluster() -> None:
    found = cluster_sites(blobs(CORNERS, 6, 0), blobs(CORNERS[::-1] + 1.0, 9, 1), 4)
    matched = found.matches[found.target].reshape(4, 9)[::-1]
    assert (matched == found.source.reshape(4, 6)[:, :1]).all()
    assert found.distance == pytest.approx(4 * 2.0, rel=0.1)


def test_centres_are_the_means_of_their_points_and_no_cluster_is_empty() -> None:
    points = np.random.default_rng(0).normal(size=(40, 2))
    labels, centres = cluster_points(points, 7)
    assert np.bincount(labels, minlength=7).min() > 0
    for cluster in range(7):
        np.testing.assert_allclose(points[labels == cluster].mean(axis=0), centres[cluster])


def test_the_same_seed_gives_the_same_clusters_whatever_the_global_generator() -> None:
    points = np.random.default_rng(0).normal(size=(60, 2))
    first = cluster_points(points, 8, seed=3)
    np.random.rand(1)  # noqa: NPY002 - somebody else draws from it
    again = cluster_points(points, 8, seed=3)
    assert (first[0] == again[0]).all() and (first[1] == again[1]).all()


def test_seeded_target_clusters_keep_the_numbers_of_the_source() -> None:
    source = blobs(CORNERS, 6, 0)
    found = cluster_sites(source, source + 0.5, 4, seed_target_centres=True)
    assert (found.target == found.source).all() and found.matches.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("seeded", [True, False])
def test_fewer_different_points_than_clusters_leave_some_out(seeded: bool) -> None:
    source, target = blobs(CORNERS, 3, 0), np.repeat(CORNERS[:2], 6, axis=0)
    found = cluster_sites(source, target, 4, seed_target_centres=seeded)
    assert len(found.matches) == found.target.max() + 1 == 2
    matched = {tuple(source[found.source == match].mean(axis=0).round()) for match in found.matches}
    assert matched == {(0.0, 0.0), (5.0, 0.0)}
    other = cluster_sites(target, source, 4, seed_target_centres=seeded)
    assert sorted(other.matches[other.matches >= 0]) == [0, 1]
    assert seeded or (other.matches == -1).sum() == 2


def test_a_site_with_fewer_images_than_clusters_is_refused() -> None:
    with pytest.raises(DataError, match=r"but the target has 3\. Lower 'clusters' to 3"):
        cluster_sites(blobs(CORNERS, 3, 0), CORNERS[:3], 4)
