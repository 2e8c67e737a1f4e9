"""Features in two dimensions, so that images that are alike lie together, and which images to show."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

FEWEST = 5
"""Images for which neighbourhoods mean anything."""
PERPLEXITY = 30.0


def embed_in_plane(
    points: NDArray[np.float64], *, seed: int = 0, iterations: int = 1000, angle: float = 0.5
) -> NDArray[np.float64]:
    """Lay points out in two dimensions by t-SNE, which starts from their principal components.

    Args:
        points: (n, d) finite, n of at least 5, d of at least 2, not all the same.
        seed: of the principal components.
        iterations: of the descent, at least 250.
        angle: how coarsely far points are taken together, in [0, 1]; 0 is exact and slow.

    Returns: (n, 2); the same with the same numbers, seed and library versions.

    Source: van der Maaten & Hinton 2008, as scikit-learn computes it. Perplexity 30, or a third of the other points
        where they are fewer than 90.

    >>> embed_in_plane(np.random.default_rng(0).normal(size=(20, 4))).shape
    (20, 2)
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    layout = TSNE(
        perplexity=min(PERPLEXITY, (len(points) - 1) / 3), init="pca", learning_rate="auto", random_state=seed,
        max_iter=iterations, angle=angle,
    )  # fmt: skip
    with threadpool_limits(1):  # threads add up in another order at every call
        return np.asarray(layout.fit_transform(points), dtype=np.float64)


def draw_rows(labels: ArrayLike, *, most: int, seed: int = 0) -> NDArray[np.int64]:
    """Draw so many images that each class keeps its share, and at least one.

    Args:
        labels: (n,) of any kind.
        most: how many, at least the number of classes.
        seed: which ones; more with the same seed contain the fewer.

    Returns: (min(n, most),) their places, in order.

    >>> draw_rows([0, 0, 0, 0, 0, 1], most=3).tolist()[-1]
    5
    """
    given = np.asarray(labels)
    shuffled = np.random.default_rng(seed).permutation(len(given))
    turn = np.empty(len(given))
    for label in np.unique(given):
        of_class = shuffled[given[shuffled] == label]
        turn[of_class] = np.arange(len(of_class)) / len(of_class)  # 0 for one of every class, then evenly
    return np.sort(shuffled[np.argsort(turn[shuffled], kind="stable")][:most])
