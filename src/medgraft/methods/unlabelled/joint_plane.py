"""Where the images of two sites lie beside one another, in two dimensions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medgraft.errors import DataError
from medgraft.metrics.tsne import FEWEST, embed_in_plane

FLAT = 1e-6
"""Spread of features beside their size; below this it is rounding."""
SPARE, POWER_ITERATIONS = 10, 5
"""Of the randomised decomposition: more directions than asked for, and rounds that sharpen them."""


def lay_out(
    sites: Sequence[NDArray[np.floating]],
    *,
    components: int = 20,
    positions: NDArray[np.floating] | None = None,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Lay the images of all sites out in one plane, so that images that are alike lie together (PCA, then t-SNE).

    Args:
        sites: features (n, D) float of each site, finite.
        components: principal components of all of them that t-SNE sees.
        positions: (N,) of all images, one more column beside the components; None for none.
        seed: of both.

    Returns: (N, 2), site after site; the same with the same numbers, seed and library versions.

    Raises:
        DataError: fewer than 5 images, features that are not finite, or that are the same in all images.

    Source: Goodman et al. 2022 (AIVA), section 2; t-SNE as in `embed_in_plane`.

    >>> rng = np.random.default_rng(0)
    >>> lay_out([rng.normal(size=(20, 50)), rng.normal(size=(30, 50))]).shape
    (50, 2)
    """
    from threadpoolctl import threadpool_limits

    count = sum(len(site) for site in sites)
    if count < FEWEST:
        raise DataError(
            "A plane of images", f"{FEWEST} of them", f"there are {count}",
            "Add images, or choose another method.",
        )  # fmt: skip
    with threadpool_limits(1):  # threads add up in another order at every call
        points = leading_components(sites, components, seed)
        size = np.sqrt(sum(float(np.einsum("ij,ij->", site, site)) for site in sites) / count)
        if points.std(axis=0).max() <= FLAT * size:
            raise DataError(
                "A plane of images", "features that differ between images", "they are all the same",
                "Check that the images are not all blank, or name another layer.",
            )  # fmt: skip
        if positions is not None:
            points = np.column_stack([points, positions])
    return embed_in_plane(np.pad(points, ((0, 0), (0, max(0, 2 - points.shape[1])))), seed=seed)


def leading_components(
    sites: Sequence[NDArray[np.floating]], most: int, seed: int = 0
) -> NDArray[np.float64]:
    """Images of all sites along the directions in which they vary most, without a second copy of their features.

    scikit-learn's own copies all features to centre them; here the mean is taken off the products instead.

    Args:
        sites: features (n, D) float of each site; N images in all.
        most: components, at most; fewer where N - 1 or D are smaller.
        seed: of the random directions it starts from; it decides signs and rounding.

    Returns: (N, k), the largest variance first.

    Raises:
        DataError: features that are not finite.

    Source: Halko, Martinsson & Tropp 2011, algorithms 4.4 and 5.1.

    >>> np.abs(leading_components([np.array([[0.0, 0.0], [2.0, 0.0]]), np.array([[4.0, 0.0]])], 1)).round(6)
    array([[2.],
           [0.],
           [2.]])
    """
    count, width = sum(len(site) for site in sites), sites[0].shape[1]
    kept = min(most, count - 1, width)
    centre = sum(site.sum(axis=0, dtype=np.float64) for site in sites) / count
    if not np.isfinite(centre).all():
        raise DataError("Principal components", "finite features", "some are not", "Lower the learning rate.")
    ends = np.cumsum([len(site) for site in sites])[:-1]

    def along(directions: NDArray[np.float64]) -> NDArray[np.float64]:
        products = np.concatenate([site @ directions.astype(site.dtype) for site in sites])
        return np.asarray(products - centre @ directions, dtype=np.float64)

    def across(scores: NDArray[np.float64]) -> NDArray[np.float64]:
        blocks = zip(sites, np.split(scores, ends))
        total = sum(site.T @ block.astype(site.dtype) for site, block in blocks)
        return np.asarray(total - np.outer(centre, scores.sum(axis=0)), dtype=np.float64)

    drawn = min(kept + SPARE, count, width)
    basis = np.linalg.qr(along(np.random.default_rng(seed).standard_normal((width, drawn))))[0]
    for _ in range(POWER_ITERATIONS):
        basis = np.linalg.qr(along(np.linalg.qr(across(basis))[0]))[0]
    left, sizes, _ = np.linalg.svd(across(basis).T, full_matrices=False)
    return np.asarray(basis @ left[:, :kept] * sizes[:kept])
