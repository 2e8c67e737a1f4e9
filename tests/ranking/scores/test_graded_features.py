"""Planted features of graded quality are ranked in order; and units of measurement do not count."""

from __future__ import annotations

import numpy as np
import pytest

from medgraft.ranking.scores.label_predictability import label_predictability
from medgraft.ranking.scores.leep import leep
from medgraft.ranking.scores.n_leep import n_leep
from medgraft.ranking.scores.ncti import ncti, ncti_terms
from medgraft.ranking.scores.parc import parc
from medgraft.ranking.scores.sfda import sfda

STRENGTHS = [0.0, 0.2, 0.4, 0.65]
FOR_CLUSTERS = [
    0.0,
    0.6,
    1.0,
    1.5,
]  # those of N-LEEP do not see the labels, nor what is weaker than the noise
CLASSES = 3


def plant(seed, strengths=STRENGTHS, width=80, count=240):
    """Features of four sources, in which classes lie further and further apart; noise is correlated, as in networks."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % CLASSES)
    mixing = rng.normal(size=(width, width)) * np.linspace(1.5, 0.1, width) / 8
    centres = rng.normal(size=(CLASSES, width)) / 3
    return labels, [
        np.maximum(rng.normal(size=(count, width)) @ mixing.T + strength * centres[labels] + 0.5, 0).astype(
            np.float32
        )
        for strength in strengths
    ]


def scores_of(name, sources, labels, **settings):
    if name == "ncti":
        return ncti([ncti_terms(source, labels, **settings) for source in sources])
    single = {"n_leep": n_leep, "parc": parc, "sfda": sfda, "label_predictability": label_predictability}[
        name
    ]
    return np.array([single(source, labels, **settings) for source in sources])


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", ["n_leep", "parc", "sfda", "ncti", "label_predictability"])
def test_features_of_graded_quality_are_ranked_in_order(name, seed):
    labels, sources = plant(seed, FOR_CLUSTERS if name == "n_leep" else STRENGTHS)
    assert (np.diff(scores_of(name, sources, labels)) > 0).all()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_heads_of_graded_quality_are_ranked_in_order(seed):
    rng = np.random.default_rng(seed)
    labels = np.arange(240) % CLASSES
    heads = rng.dirichlet(np.ones(10) / 3, size=CLASSES)
    noise = rng.dirichlet(np.ones(10), size=240)
    scores = [leep(weight * heads[labels] + (1 - weight) * noise, labels) for weight in (0.0, 0.2, 0.5, 0.9)]
    assert (np.diff(scores) > 0).all()


@pytest.mark.parametrize("name", ["n_leep", "parc", "sfda", "ncti", "label_predictability"])
def test_units_of_measurement_do_not_count(name):
    labels, sources = plant(4)
    rescaled = [1e-2 * sources[1].astype(np.float64) + 1, 30.0 * sources[2], sources[3]]
    found = scores_of(name, rescaled, labels)
    np.testing.assert_allclose(found, scores_of(name, sources[1:], labels), rtol=2e-3)


@pytest.mark.parametrize("name", ["sfda", "ncti", "label_predictability"])
def test_as_published_they_do(name):
    labels, sources = plant(4)
    rescaled = [0.1 * sources[1], *sources[2:]]
    before = scores_of(name, sources[1:], labels, variant="as_published")
    after = scores_of(name, rescaled, labels, variant="as_published")
    assert np.abs(after - before).max() > 0.02
