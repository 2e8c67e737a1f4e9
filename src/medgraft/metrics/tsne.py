"""Features in two dimensions, so that images that are alike lie together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

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
