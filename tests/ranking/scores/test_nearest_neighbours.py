"""Neighbours are counted without the image itself."""

from __future__ import annotations

import numpy as np
import pytest

from medgraft.errors import SettingsError
from medgraft.ranking.inputs import UndefinedError
from medgraft.ranking.scores.nearest_neighbours import nearest_neighbours


@pytest.mark.parametrize("neighbours", [1, 3, 5])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_share_of_neighbours_is_that_of_a_loop_over_all_pairs(neighbours, kind):
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(70) % 3)
    features = (rng.normal(size=(70, 6)) + labels[:, None] * 0.7 + 50).astype(kind)
    shares = []
    for row in range(70):
        distances = [
            (float(((features[row].astype(float) - features[other]) ** 2).sum()), other)
            for other in range(70)
            if other != row
        ]
        nearest = [other for _, other in sorted(distances)[:neighbours]]
        shares.append(np.mean([labels[other] == labels[row] for other in nearest]))
    assert nearest_neighbours(features, labels, neighbours=neighbours) == pytest.approx(
        np.mean(shares), abs=1e-12
    )


def test_an_image_is_not_its_own_neighbour():
    # Each image is nearest to one of the other class; counted with itself the score would be 0.5.
    features = [[0.0], [0.1], [5.0], [5.1]]
    assert nearest_neighbours(features, [0, 1, 0, 1], neighbours=1) == 0.0


def test_labels_at_chance_score_about_the_sum_of_squared_shares():
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1], [300, 900])
    assert nearest_neighbours(rng.normal(size=(1200, 4)), labels) == pytest.approx(0.0625 + 0.5625, abs=0.03)


def test_too_few_images_and_no_neighbours_are_refused():
    features = np.random.default_rng(0).normal(size=(5, 2))
    with pytest.raises(UndefinedError, match="more than 5 images, but there are 5"):
        nearest_neighbours(features, [0, 1, 0, 1, 0])
    with pytest.raises(SettingsError, match="one neighbour or more"):
        nearest_neighbours(features, [0, 1, 0, 1, 0], neighbours=0)
