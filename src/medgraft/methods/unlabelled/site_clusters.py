"""Clusters of the images of two sites, and which belong to which."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgraft.errors import DataError

STARTS = 10
"""Of k-means, whose result depends on where it starts; the best of these is kept."""


class SiteClusters(NamedTuple):
    """source: (n,) int64 in [0, L). target: (m,) int64 in [0, K).

    matches: (K,) int64, the source cluster of each target cluster, no two the same; -1 where it has none.
    distance: sum of squared distances between the centres of matched clusters.
    """

    source: NDArray[np.int64]
    target: NDArray[np.int64]
    matches: NDArray[np.int64]
    distance: float


def cluster_sites(
    source: NDArray[np.float64],
    target: NDArray[np.float64],
    clusters: int,
    *,
    seed_target_centres: bool = False,
    seed: int = 0,
) -> SiteClusters:
    """Cluster each site for itself, and match the clusters of the two.

    Args:
        source: (n, 2), where the source's images lie in a plane.
        target: (m, 2), in the same plane.
        clusters: of each site; fewer where a site has fewer different points.
        seed_target_centres: the target's k-means starts from the source's centres.
        seed: of k-means.

    Raises:
        DataError: a site with fewer images than clusters.

    Source: Goodman et al. 2022 (AIVA), section 2; the seeded centres are in the published code only.

    >>> source = np.array([[0.0, 0.0], [0.0, 1.0], [9.0, 9.0]])
    >>> found = cluster_sites(source, source[::-1] + 1, 2)
    >>> found.matches[found.target].tolist() == found.source[::-1].tolist(), found.distance
    (True, 4.0)
    """
    for side, points in (("source", source), ("target", target)):
        if len(points) < clusters:
            raise DataError(
                "A clustering", f"at least {clusters} images of each site, one per cluster",
                f"the {side} has {len(points)}", f"Lower 'clusters' to {len(points)} or add images.",
            )  # fmt: skip
    source_labels, source_centres = cluster_points(source, clusters, seed=seed)
    starts = source_centres if seed_target_centres else None
    target_labels, target_centres = cluster_points(target, clusters, starts=starts, seed=seed)
    matches = match_clusters(target_centres, source_centres)
    matched = matches >= 0
    apart = target_centres[matched] - source_centres[matches[matched]]
    return SiteClusters(source_labels, target_labels, matches, float(np.square(apart).sum()))


def cluster_points(
    points: NDArray[np.float64], clusters: int, *, starts: NDArray[np.float64] | None = None, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Divide points into clusters by k-means, none of them empty.

    Args:
        points: (n, d).
        clusters: how many; fewer where there are fewer different points.
        starts: (k, d), centres to start from, k of which then are found; None starts ten times at random.
        seed: of the starts.

    Returns: (n,) the cluster of each point, and (k, d) the centres.

    >>> cluster_points(np.array([[0.0], [0.0], [5.0]]), 3)[1].ravel().tolist()
    [0.0, 5.0]
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    different = len(np.unique(points, axis=0))
    if starts is not None and len(starts) > different:
        starts = None  # several could only share a point
    with threadpool_limits(1):
        means = KMeans(
            min(clusters, different) if starts is None else len(starts),
            init="k-means++" if starts is None else starts,
            n_init=STARTS if starts is None else 1,
            random_state=seed,
        ).fit(points)
    return means.labels_.astype(np.int64), np.asarray(means.cluster_centers_, dtype=np.float64)


def match_clusters(target_centres: ArrayLike, source_centres: ArrayLike) -> NDArray[np.int64]:
    """Match clusters one to one, so that the squared distances between centres have the smallest sum (Hungarian).

    Args:
        target_centres: (K, d) real numbers.
        source_centres: (L, d).

    Returns: (K,) the source cluster of each target cluster; -1 where K is larger than L and none is left.

    Source: Goodman et al. 2022 (AIVA), equation 1; Kuhn 1955, as SciPy computes it.

    >>> match_clusters([[0.0], [4.0], [9.0]], [[5.0], [1.0]]).tolist()
    [1, 0, -1]
    """
    from scipy.optimize import linear_sum_assignment

    target, source = np.asarray(target_centres, np.float64), np.asarray(source_centres, np.float64)
    # the authors' cost is the mean over the dimensions, which orders the matchings in the same way
    cost = np.square(target[:, None] - source[None]).sum(axis=2)
    rows, columns = linear_sum_assignment(cost)
    matches = np.full(len(target), -1, dtype=np.int64)
    matches[rows] = columns
    return matches
