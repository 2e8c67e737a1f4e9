"""Features in two dimensions, and the projections by which scores imitate fine-tuning: NCA (S_LP) and LDA (SFDA)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgraft.errors import DataError, ShapeError
from medgraft.metrics.tsne import FEWEST, embed_in_plane
from medgraft.ranking.inputs import UndefinedError, check_inputs, check_variant
from medgraft.ranking.scores.gram import double_blocks
from medgraft.ranking.scores.label_predictability import fit_projection, refuse_many, scale_points
from medgraft.ranking.scores.sfda import choose_shrinkage, fit_discriminant, measure_scatter
from medgraft.ranking.scores.spread import check_spread

Variant = Literal["scale_free", "as_published"]
VARIANTS = ("scale_free", "as_published")
NOTHING = 1e-10
"""Of the squared distance between classes, in units of their width: below this it is rounding."""
ITERATIONS = 500
"""Half of the library's: with some hundred images neighbourhoods do not get better after that."""
ANGLE = 0.8
"""How coarsely far images are taken together; coarser than the library's 0.5, as good here and faster."""


def project_by_nca(
    features: ArrayLike, labels: ArrayLike, *, variant: Variant = "scale_free"
) -> NDArray[np.float64]:
    """Give features as the score S_LP sees them, after the linear projection that suits the labels best.

    The projection has seen the labels: classes come apart a little even where labels have no relation to features.

    Args:
        features: (n, D) real numbers, n up to 10 000.
        labels: (n,) whole numbers 0..C-1.
        variant: as in `label_predictability`.

    Returns: (n, min(50, D)).

    Raises:
        ShapeError, DataError: features and labels do not fit together, or more than 10 000 images.
        UndefinedError: one class, or features that are all the same.

    Source: Juodelyte, thesis chapter 6, figure 6.3 (c): neighbourhood components analysis.

    >>> rng = np.random.default_rng(0)
    >>> project_by_nca(rng.normal(size=(20, 60)), np.arange(20) % 2).shape
    (20, 50)
    """
    check_variant("NCA", variant, VARIANTS)
    inputs = check_inputs("NCA", features, labels)
    refuse_many("NCA", len(inputs.labels))
    check_spread("NCA", inputs.features)
    points = scale_points(inputs.features, variant)
    return np.asarray(fit_projection(points, inputs.labels).transform(points))


def project_by_lda(
    features: ArrayLike, labels: ArrayLike, *, variant: Variant = "scale_free"
) -> NDArray[np.float64]:
    """Give features in the directions along which the regularised discriminant of SFDA tells the classes apart.

    The directions have seen the labels. With fewer images than features and `variant="as_published"` every class falls
    onto one point, whatever the labels; the shrinkage of "scale_free" keeps the classes' width.

    Args:
        features: (n, D) real numbers.
        labels: (n,) whole numbers 0..C-1.
        variant: of the shrinkage, as in `sfda`; here too few images are not refused.

    Returns: (n, d), d at most C - 1 and at most D, centred; the most telling direction first. The (shrunk) scatter
        within classes is 1 in each of them.

    Raises:
        ShapeError, DataError: features and labels do not fit together.
        UndefinedError: one class, features that do not vary within classes, or classes whose means are the same.

    Source: Juodelyte, thesis chapter 6, figure 6.3 (d); Shao et al. 2022, section 4, its first analysis.

    >>> project_by_lda([[0.0, 0.0], [1.0, 2.0], [4.0, 1.0], [5.0, 3.0]], [0, 0, 1, 1]).shape
    (4, 1)
    """
    check_variant("LDA", variant, VARIANTS)
    inputs = check_inputs("LDA", features, labels)
    scatter = measure_scatter(inputs, "LDA")
    weights = fit_discriminant(
        scatter, choose_shrinkage(scatter, variant)
    ).weights  # means times the inverse scatter
    centre, root = scatter.shares @ scatter.means, np.sqrt(scatter.shares)[:, None]
    away, weights = root * (scatter.means - centre), root * (weights - scatter.shares @ weights)
    # eigenvectors of D x D matrices, from the C x C matrix that has the same eigenvalues
    values, vectors = np.linalg.eigh(away @ weights.T)
    values, vectors = values[::-1], vectors[:, ::-1]
    kept = values > NOTHING * max(values[0], NOTHING)
    if not kept.any():
        raise UndefinedError(
            "LDA", "classes whose mean features differ", "they do not", "Leave this model out."
        )
    directions = weights.T @ (vectors[:, kept] / np.sqrt(values[kept]))
    return np.concatenate([block @ directions for _, block in double_blocks(inputs.features, centre)])


def to_plane(features: ArrayLike, *, seed: int = 0) -> NDArray[np.float64]:
    """Lay features out in two dimensions, so that images that are alike lie together (t-SNE).

    Who is whose neighbour is kept as well as it can be; distances between clusters, and their sizes, mean nothing, and
    clusters may show where there are none. Features of one or two dimensions are shown as they are.

    Args:
        features: (n, D) real numbers, n of at least 5. Time grows a little faster than n: 500 images take seconds.
        seed: of the principal components from which the layout starts.

    Returns: (n, 2); the second column is 0 where D is 1. The same numbers and seed give the same layout.

    Raises:
        ShapeError, DataError: not (n, D), or not finite.
        UndefinedError: fewer than 5 images, or all the same.

    Source: `embed_in_plane`.

    >>> to_plane([[0.0], [1.0], [2.0], [4.0], [8.0]]).tolist()
    [[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [4.0, 0.0], [8.0, 0.0]]
    """
    points = np.array(features, dtype=np.float64)
    if points.ndim != 2 or not points.size:
        raise ShapeError(
            "t-SNE", "features of shape (images, D)", f"they are {points.shape}", "Give one row per image."
        )
    if not np.isfinite(points).all():
        raise DataError("t-SNE", "finite features", "some are not", "Leave out the model that gives them.")
    if len(points) < FEWEST:
        raise UndefinedError("t-SNE", f"{FEWEST} images", f"there are {len(points)}", "Label more images.")
    check_spread("t-SNE", points)
    if points.shape[1] <= 2:
        return np.pad(points, ((0, 0), (0, 2 - points.shape[1])))
    return embed_in_plane(points, seed=seed, iterations=ITERATIONS, angle=ANGLE)
