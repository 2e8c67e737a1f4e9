"""Neighbours of one's class at another site, against hand-worked cases and a library."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from medgraft.errors import DataError, ShapeError
from medgraft.metrics.class_agreement import class_agreement


def test_a_line_of_points_by_hand():
    """Of 0's three nearest (1, 2, 3) two are a; of 10's three nearest (9, 8, 3) one is b: (2/3 + 1/3) / 2."""
    known, labels = [[1.0], [2.0], [3.0], [8.0], [9.0]], ["a", "b", "a", "a", "b"]
    found = class_agreement([[0.0], [10.0]], known, ["a", "b"], labels, [0, 1], range(2, 7), neighbours=3)
    assert found == pytest.approx((2 / 3 + 1 / 3) / 2)


def test_the_own_patient_never_speaks():
    """The twin at distance 0 is of the own patient; the next one is of the other class."""
    known, names = [[0.0], [5.0]], ["p", "q"]
    assert class_agreement([[0.0]], known, ["a"], ["a", "b"], ["p"], names, neighbours=1) == 0.0
    assert class_agreement([[0.0]], known, ["a"], ["a", "b"], ["r"], names, neighbours=1) == 1.0


def test_it_equals_a_library_where_all_patients_differ_and_counts_classes_alike():
    rng = np.random.default_rng(0)
    asked, known = rng.normal(size=(40, 3)), rng.normal(size=(60, 3))
    labels, others = (np.arange(40) % 8 == 0).astype(int), (np.arange(60) % 3 == 0).astype(int)
    nearest = NearestNeighbors(n_neighbors=5).fit(known).kneighbors(asked, return_distance=False)
    shares = (others[nearest] == labels[:, None]).mean(axis=1)
    expected = (shares[labels == 0].mean() + shares[labels == 1].mean()) / 2
    found = class_agreement(asked, known, labels, others, range(40), range(40, 100))
    assert found == pytest.approx(expected)
    assert found != pytest.approx(shares.mean(), abs=1e-3)


def test_classes_that_lie_apart_agree_wholly_and_features_without_meaning_by_chance():
    labels = np.arange(300) % 3
    apart = labels[:, None] * 100 + np.random.default_rng(0).normal(size=(300, 2))
    assert class_agreement(apart, apart, labels, labels, range(300), range(300)) == 1.0
    noise = np.random.default_rng(0).normal(size=(300, 2))
    assert class_agreement(noise, noise, labels, labels, range(300), range(300)) == pytest.approx(
        1 / 3, abs=0.05
    )


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(DataError, match="known images of other patients"):
        class_agreement([[0.0]], [[1.0]], "a", "a", ["p"], ["p"])
    with pytest.raises(ShapeError, match="features of one length"):
        class_agreement([[0.0]], [[1.0, 2.0]], "a", "a", ["p"], ["q"])
    with pytest.raises(ShapeError, match="one label and one patient per image"):
        class_agreement([[0.0]], [[1.0]], "ab", "a", ["p"], ["q"])
    with pytest.raises(DataError, match="finite features"):
        class_agreement([[np.nan]], [[1.0]], "a", "a", ["p"], ["q"])
