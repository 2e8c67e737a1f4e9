"""Planes against scikit-learn's own call, with the settings that are said to be used."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medgraft.metrics.tsne import draw_rows, embed_in_plane


@pytest.mark.parametrize("count", [5, 60, 120])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({}, {}),
        ({"iterations": 250, "angle": 0.8, "seed": 3}, {"max_iter": 250, "angle": 0.8, "random_state": 3}),
    ],
)
def test_a_plane_is_that_of_scikit_learn(count: int, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    points = np.random.default_rng(0).normal(size=(count, 6))
    perplexity = {5: 4 / 3, 60: 59 / 3, 120: 30.0}[count]
    with threadpool_limits(1):
        expected = TSNE(perplexity=perplexity, **{"random_state": 0} | theirs).fit_transform(points)
    found = embed_in_plane(points, **ours)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, expected)


def test_drawn_images_keep_the_shares_of_classes_and_each_class():
    labels = np.array([0] * 600 + [1] * 300 + [2] * 99 + [3])
    rows = draw_rows(labels, most=100, seed=1)
    assert len(set(rows.tolist())) == 100 and (np.diff(rows) > 0).all()
    np.testing.assert_allclose(np.bincount(labels[rows]), [60, 30, 10, 1], atol=1)
    assert np.bincount(labels[rows])[3] == 1
    assert set(rows) < set(draw_rows(labels, most=200, seed=1))
    assert not np.array_equal(rows, draw_rows(labels, most=100, seed=2))
    np.testing.assert_array_equal(draw_rows(labels, most=5000), np.arange(1000))
