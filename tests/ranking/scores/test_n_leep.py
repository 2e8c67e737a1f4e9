"""N-LEEP: clusters stand in for source classes, and chance is averaged and shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medgraft.errors import DataError, SettingsError
from medgraft.ranking.inputs import UndefinedError
from medgraft.ranking.scores.leep import leep
from medgraft.ranking.scores.n_leep import n_leep, n_leep_runs
from medgraft.ranking.scores.principal_components import principal_components

GOLDEN = dict(np.load(Path(__file__).parents[2] / "golden" / "transferability_binary.npz"))
X, Y = GOLDEN["X"], GOLDEN["y"]


def test_the_score_of_a_posterior_is_the_authors_number():
    posterior = GOLDEN["nleep_gmm_posterior_rs0"]
    assert leep(posterior, Y, log=False) == pytest.approx(float(GOLDEN["nleep_from_posterior_rs0"]), rel=1e-7)
    assert leep(posterior, Y) == pytest.approx(float(GOLDEN["nleep_from_posterior_rs0_log"]), rel=1e-7)
    # The stored values are single precision; the first seed's value is the same number in double precision.
    assert leep(posterior, Y, log=False) == pytest.approx(float(GOLDEN["nleep_np_seed_0to9"][0]), abs=1e-9)


def test_as_many_components_are_kept_as_published():
    assert principal_components("N-LEEP", X, share=0.8).scores.shape[1] == GOLDEN["nleep_pca_dim"]


def test_runs_lie_where_the_authors_unseeded_code_puts_them():
    runs = n_leep_runs(X, Y, log=False, initialisations=4)
    published = GOLDEN["nleep_np_seed_0to9"]
    spread = published.max() - published.min()
    assert published.min() - spread / 2 < runs.min() and runs.max() < published.max() + spread / 2
    assert np.ptp(runs) > 0.001  # chance moves it


def test_clusters_of_known_labels_give_the_number_worked_out_by_hand():
    centres = np.array([[0, 0], [100, 0], [0, 100], [100, 100]])
    cluster = np.repeat([0, 1, 2, 3], 10)
    features = centres[cluster] + np.random.default_rng(0).normal(size=(40, 2))
    labels = np.repeat([0, 1, 0, 1], 10)
    labels[20:25] = 1  # the third cluster is half and half
    expected = (30 * np.log(1.0) + 10 * np.log(0.5)) / 40
    assert n_leep(features, labels, clusters=4) == pytest.approx(expected, abs=1e-6)
    assert n_leep(features, labels, clusters=4, log=False) == pytest.approx((30 + 10 * 0.5) / 40, abs=1e-6)


def test_it_is_the_mean_of_its_runs_and_the_same_for_the_same_seed():
    runs = n_leep_runs(X, Y, seed=3, initialisations=3)
    assert n_leep(X, Y, seed=3, initialisations=3) == runs.mean()
    np.testing.assert_array_equal(runs[:2], n_leep_runs(X, Y, seed=3, initialisations=2))
    assert set(runs).isdisjoint(n_leep_runs(X, Y, seed=4, initialisations=3))


def test_the_global_generator_is_left_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    n_leep(X, Y, initialisations=1)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_no_more_images_than_clusters_is_undefined_and_the_remedy_works():
    features, labels = X[:10], np.arange(10) % 2
    with pytest.raises(UndefinedError, match="more images than its 10 clusters, but there are 10"):
        n_leep(features, labels)
    assert n_leep(features, labels, clusters=3) <= 0


def test_copies_of_too_few_images_are_undefined():
    with pytest.raises(UndefinedError, match="more different images than its 10 clusters"):
        n_leep(np.repeat(X[:8], 5, axis=0), np.arange(40) % 2)


@pytest.mark.parametrize(
    ("features", "labels", "settings", "error"),
    [
        (np.ones_like(X), Y, {}, UndefinedError),
        (X, Y * 0, {}, UndefinedError),
        (np.full_like(X, np.nan), Y, {}, DataError),
        (X, Y, {"initialisations": 0}, SettingsError),
        (X, Y, {"clusters": 1}, SettingsError),
    ],
)
def test_what_it_cannot_score_is_refused(features, labels, settings, error):
    with pytest.raises(error, match="N-LEEP needs"):
        n_leep(features, labels, **settings)
