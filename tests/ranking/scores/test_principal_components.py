"""Principal components are those of scikit-learn, whichever of n and D is smaller."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from medgraft.ranking.inputs import UndefinedError
from medgraft.ranking.scores.principal_components import principal_components

RNG = np.random.default_rng(17)
BROAD = RNG.normal(size=(30, 12)) * np.linspace(1, 4, 12) + 50
FEW = RNG.normal(size=(12, 30)) * np.linspace(1, 4, 30) + 50


@pytest.mark.parametrize("features", [BROAD, FEW, BROAD.astype(np.float32)])
@pytest.mark.parametrize("share", [0.5, 0.8])
def test_components_are_those_of_scikit_learn(features, share):
    reference = PCA(share, svd_solver="full").fit(features.astype(np.float64))
    found = principal_components("PCA", features, share=share)
    np.testing.assert_allclose(found.variances, reference.explained_variance_, rtol=1e-9)
    np.testing.assert_allclose(
        np.abs(found.scores), np.abs(reference.transform(features.astype(np.float64))), atol=1e-8
    )
    assert found.total == pytest.approx(features.astype(np.float64).var(axis=0, ddof=1).sum(), rel=1e-12)


@pytest.mark.parametrize("features", [BROAD, FEW])
def test_no_more_components_are_given_than_asked_for_or_than_there_are(features):
    assert principal_components("PCA", features, most=3).scores.shape[1] == 3
    assert principal_components("PCA", features, most=99).scores.shape[1] == min(len(features) - 1, 12)
    twice = np.hstack([features, features, np.full((len(features), 5), 7.0)])
    assert principal_components("PCA", twice).scores.shape[1] == min(len(features) - 1, 12)


def test_a_distant_origin_is_not_variation():
    line = np.arange(8.0)[:, None] * [1.0, 0.0, 0.0] + 1e6
    found = principal_components("PCA", line)
    assert found.scores.shape == (8, 1)
    assert found.variances[0] == pytest.approx(6.0, rel=1e-9)


def test_images_that_do_not_differ_have_none():
    with pytest.raises(UndefinedError, match="PCA needs features that differ between images"):
        principal_components("PCA", np.full((5, 3), 0.1))
