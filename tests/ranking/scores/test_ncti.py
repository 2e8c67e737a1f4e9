"""NCTI's terms are the authors' numbers where asked; their combination needs sources that differ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import linalg

from medgraft.errors import DataError
from medgraft.ranking.inputs import UndefinedError
from medgraft.ranking.scores.ncti import NctiTerms, ncti, ncti_terms

GOLDEN = dict(np.load(Path(__file__).parents[2] / "golden" / "transferability_binary.npz"))
X, Y = GOLDEN["X"], GOLDEN["y"]
RNG = np.random.default_rng(11)
SOURCES = [NctiTerms(10.0, 0.5, 4.0), NctiTerms(20.0, 0.9, 3.0), NctiTerms(15.0, 0.6, 3.5)]


def by_hand(features, labels, shrinkage):
    """Discriminant analysis with shrunk class covariances, from its definition."""
    classes = range(labels.max() + 1)
    shares = np.array([np.mean(labels == c) for c in classes])
    means = np.stack([features[labels == c].mean(axis=0) for c in classes])

    def shrunk(rows):
        covariance = np.cov(rows.T, bias=True)
        size = len(covariance)
        return (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / size * np.eye(size)

    within = sum(share * shrunk(features[labels == c]) for share, c in zip(shares, classes))
    _, directions = linalg.eigh(shrunk(features) - within, within)
    projected = (features - features.mean(axis=0)) @ directions[:, ::-1][:, : len(shares) - 1]
    away = features[:, None] - means
    exponent = np.log(shares) - 0.5 * np.einsum("ncd,de,nce->nc", away, np.linalg.inv(within), away)
    chances = np.exp(exponent - exponent.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    vc = sum(np.linalg.svd(chances[labels == c], compute_uv=False).sum() for c in classes)
    seli = np.linalg.svd(projected, compute_uv=False).sum()
    return NctiTerms(seli, chances[np.arange(len(labels)), labels].mean(), np.log(vc))


def test_the_authors_terms_are_met():
    terms = ncti_terms(X, Y, variant="as_published")
    assert terms.seli == pytest.approx(float(GOLDEN["ncti_seli"]), rel=1e-4)
    assert terms.ncc == pytest.approx(float(GOLDEN["ncti_ncc"]), rel=1e-6)
    assert terms.log_vc == pytest.approx(float(GOLDEN["ncti_log_vc"]), rel=1e-6)


@pytest.mark.parametrize("variant", ["as_published", "scale_free"])
@pytest.mark.parametrize("classes", [2, 4])
def test_terms_equal_their_definition(variant, classes):
    labels = np.sort(np.arange(200) % classes)
    features = 0.1 * (RNG.normal(size=(200, 64)) + np.eye(classes, 64)[labels])
    variances = np.linalg.eigvalsh(np.cov(features.T))[::-1]
    unit = variances.sum() if variant == "scale_free" else 1.0
    shrinkage = np.exp(-variances[:32].sum() / unit)
    assert 0.3 < shrinkage < 0.9
    np.testing.assert_allclose(
        ncti_terms(features, labels, variant=variant), by_hand(features, labels, shrinkage), rtol=1e-6
    )


def test_more_than_64_features_are_reduced_to_64_components():
    features = RNG.normal(size=(200, 90)).astype(np.float32) + Y[:200, None]
    centred = features - features.mean(axis=0)
    components = centred @ np.linalg.svd(centred, full_matrices=False)[2][:64].T
    wide = ncti_terms(features, Y, variant="as_published")
    np.testing.assert_allclose(wide, ncti_terms(components, Y, variant="as_published"), rtol=1e-4)


@pytest.mark.parametrize(
    ("count", "width", "said"),
    [(200, 63, "200 images and 63 features"), (63, 80, "63 images and 80 features")],
)
def test_too_few_images_or_features_are_undefined(count, width, said):
    with pytest.raises(UndefinedError, match=f"64 images and 64 features or more, but there are {said}"):
        ncti_terms(RNG.normal(size=(count, width)), np.arange(count) % 2)


def test_terms_are_scaled_over_sources_and_added_with_the_sign():
    np.testing.assert_allclose(ncti(SOURCES), [0 + 0 + 1, 1 + 1 + 0, 0.5 + 0.25 + 0.5], atol=1e-12)
    np.testing.assert_allclose(
        ncti(SOURCES, vc_sign=-1), [0 + 0 - 1, 1 + 1 - 0, 0.5 + 0.25 - 0.5], atol=1e-12
    )


def test_variation_within_classes_is_lowest_where_a_source_knows_nothing():
    labels = np.sort(np.arange(300) % 3)
    nothing = ncti_terms(RNG.normal(size=(300, 64)), labels)
    something = ncti_terms(RNG.normal(size=(300, 64)) + 3 * np.eye(3, 64)[labels], labels)
    assert nothing.ncc < something.ncc and nothing.log_vc < something.log_vc


@pytest.mark.parametrize(
    ("terms", "error", "said"),
    [
        (SOURCES[:1], UndefinedError, "two sources or more, .* but got 1"),
        ([], UndefinedError, "but got 0"),
        ([term._replace(ncc=1.0) for term in SOURCES], UndefinedError, "ncc is 1 for all"),
        ([SOURCES[0]] * 3, UndefinedError, "seli is 10 for all"),
        (
            [term._replace(log_vc=3 + index * 1e-15) for index, term in enumerate(SOURCES)],
            UndefinedError,
            "log_vc",
        ),
        ([SOURCES[0], SOURCES[1]._replace(seli=np.nan)], DataError, "source 1 are not"),
    ],
)
def test_sources_that_cannot_be_compared_are_refused(terms, error, said):
    with pytest.raises(error, match=f"NCTI needs .*{said}"):
        ncti(terms)


@pytest.mark.parametrize(
    ("features", "labels", "error"),
    [(np.ones_like(X), Y, UndefinedError), (X, Y * 0, UndefinedError), (X * np.nan, Y, DataError)],
)
def test_what_it_cannot_score_is_refused(features, labels, error):
    with pytest.raises(error, match="NCTI needs"):
        ncti_terms(features, labels)
