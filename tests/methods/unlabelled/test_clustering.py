"""What one clustering tells, also where a cluster has no match, and its picture."""

from __future__ import annotations

import numpy as np
import pytest

from medgraft.methods.unlabelled.cluster_examples import LONGEST, draw_pairs
from medgraft.methods.unlabelled.clustering import Clustering
from medgraft.methods.unlabelled.site_clusters import SiteClusters


def clustering() -> Clustering:
    """Two clusters of the source; three of the target, the second of which has no match."""
    found = SiteClusters(np.array([0, 1, 1, 1]), np.array([0, 1, 2, 2]), np.array([1, -1, 0]), 0.0)
    places = [[0, 0], [4, 0], [5, 1], [9, 2], [5, 0], [20, 0], [0, 1], [0, 7]]
    return Clustering.of(found, np.array(places, np.float64), np.arange(8, dtype=np.float32).reshape(4, 2))


def test_images_of_matched_clusters_have_the_same_number() -> None:
    table = clustering().table("first", 3)
    assert table["matched"].tolist() == [0, 1, 1, 1, 1, -1, 0, 0]
    assert table["cluster"].tolist() == [0, 1, 1, 1, 0, 1, 2, 2]
    assert table["row"].tolist() == [0, 1, 2, 3] * 2 and table["x"].tolist() == [0, 4, 5, 9, 5, 20, 0, 0]
    assert set(table["when"]) == {"first"} and set(table["epoch"]) == {3}


def test_centres_are_means_of_source_features() -> None:
    assert clustering().centres.tolist() == [[0.0, 1.0], [4.0, 5.0]]


def test_pairs_are_the_images_nearest_to_the_centres_of_matched_clusters() -> None:
    assert clustering().central_pairs() == [(0, 2), (2, 0)]  # numbers 0 and 1


def test_pictures_have_the_source_above_and_each_image_its_own_range() -> None:
    source, target = np.eye(4) * 7 - 3, np.full((4, 4), 5.0)
    picture = draw_pairs([(source, target), (target, source)])
    assert picture.shape == (10, 10, 3)
    np.testing.assert_array_equal(picture[:4, :4, 0], np.eye(4) * 255)
    np.testing.assert_array_equal(picture[6:, 6:, 1], np.eye(4) * 255)
    assert (picture[6:, :4] == 0).all() and (picture[4:6] == 255).all() and (picture[:, 4:6] == 255).all()


@pytest.mark.parametrize(("side", "shown"), [(LONGEST, LONGEST), (LONGEST + 1, 49), (300, 75)])
def test_large_images_are_thinned(side: int, shown: int) -> None:
    assert draw_pairs([(np.eye(side), np.eye(side))]).shape == (2 * shown + 2, shown, 3)
