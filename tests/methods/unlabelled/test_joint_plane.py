"""Principal components against scikit-learn, and planes in which what is alike lies together."""

from __future__ import annotations

import numpy as np
import pytest

from medgraft.errors import DataError
from medgraft.methods.unlabelled.joint_plane import lay_out, leading_components


def two_sites(width: int = 400, shift: float = 3.0) -> list[np.ndarray]:
    """60 and 45 images of few directions with much variance, and noise."""
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(25, width)) * (0.8 ** np.arange(25))[:, None]
    sites = [rng.normal(size=(count, 25)) @ directions for count in (60, 45)]
    noise = [0.01 * rng.normal(size=site.shape) for site in sites]
    return [
        (site + noise[number] + shift * number + 5).astype(np.float32) for number, site in enumerate(sites)
    ]


@pytest.mark.parametrize("width", [12, 400])
def test_components_are_those_of_scikit_learn(width: int) -> None:
    from sklearn.decomposition import PCA

    sites = two_sites(width)
    theirs = PCA(10, svd_solver="full").fit_transform(np.concatenate(sites).astype(np.float64))
    ours = leading_components(sites, 10)
    signs = np.sign((theirs * ours).sum(axis=0))
    np.testing.assert_allclose(ours * signs, theirs, atol=2e-3 * theirs.std())


def test_there_are_no_more_components_than_images_allow() -> None:
    rng = np.random.default_rng(0)
    assert leading_components([rng.normal(size=(4, 50)), rng.normal(size=(3, 50))], 20).shape == (7, 6)
    assert leading_components([rng.normal(size=(40, 3))], 20).shape == (40, 3)


def test_features_are_left_as_they_are() -> None:
    sites = two_sites()
    before = [site.copy() for site in sites]
    lay_out(sites)
    assert all((site == copy).all() for site, copy in zip(sites, before))


def test_groups_that_both_sites_share_lie_together_and_apart_from_others() -> None:
    rng = np.random.default_rng(0)
    groups = 10 * rng.normal(size=(3, 200))
    sites = [np.repeat(groups, 20, axis=0) + rng.normal(size=(60, 200)) for _ in range(2)]
    points = lay_out(sites)
    centres = points.reshape(2, 3, 20, 2).mean(axis=(0, 2))
    own = np.linalg.norm(points.reshape(2, 3, 20, 1, 2) - centres, axis=-1).argmin(axis=-1)
    assert (own == np.arange(3)[None, :, None]).all()


def test_the_same_seed_gives_the_same_plane_whatever_the_global_generator() -> None:
    sites = two_sites()
    first = lay_out(sites, seed=1)
    np.random.rand(5)  # noqa: NPY002 - somebody else draws from it
    assert (lay_out(sites, seed=1) == first).all()


def test_positions_are_one_more_column() -> None:
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    sites, positions = two_sites(), np.linspace(0, 100, 105)
    columns = np.column_stack([leading_components(sites, 20), positions])
    with threadpool_limits(1):
        theirs = TSNE(perplexity=30, init="pca", learning_rate="auto", random_state=0).fit_transform(columns)
    np.testing.assert_array_equal(lay_out(sites, positions=positions), theirs)


def test_perplexity_follows_where_images_are_few() -> None:
    rng = np.random.default_rng(0)
    assert np.isfinite(lay_out([rng.normal(size=(3, 9)), rng.normal(size=(2, 9))])).all()
    with pytest.raises(DataError, match="needs 5 of them, but there are 4"):
        lay_out([rng.normal(size=(2, 9)), rng.normal(size=(2, 9))])


def test_some_blank_images_are_laid_out_and_nothing_but_blank_ones_refused() -> None:
    rng = np.random.default_rng(0)
    some = [np.concatenate([np.zeros((10, 30)), rng.normal(size=(20, 30))]), rng.normal(size=(12, 30))]
    assert np.isfinite(lay_out(some)).all()
    with pytest.raises(DataError, match="they are all the same"):
        lay_out([np.full((8, 500), 0.3, np.float32), np.full((9, 500), 0.3, np.float32)])


def test_features_that_are_not_finite_are_refused() -> None:
    sites = two_sites()
    sites[1][3, 7] = np.nan
    with pytest.raises(DataError, match="finite features"):
        lay_out(sites)
