"""The loss of Barlow Twins: two views of an image shall be told alike, by dimensions that do not repeat one another."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from medgraft.errors import ShapeError

EPS = 1e-5
"""Added to variances, as batch norm does: a dimension that is constant in the batch becomes zero."""
PUBLISHED_WEIGHT = 0.0051


class Redundancy(NamedTuple):
    """Of the cross-correlation of two views: its diagonal's squared distance from 1, and the squares beside it, summed.

    Both are scalars, at least 0 but for rounding.
    """

    on_diagonal: Tensor
    off_diagonal: Tensor


def barlow_twins_loss(first: Tensor, second: Tensor, weight: float = PUBLISHED_WEIGHT) -> Tensor:
    """Sum of (1 - c)^2 over the diagonal of the views' cross-correlation, and of weighted c^2 beside it.

    Args:
        first, second: (B, D) float, embeddings of two views of the same B >= 2 images.
        weight: of what lies beside the diagonal, at least 0.

    Returns: scalar float32, float64 where the embeddings are; D where the views have nothing in common.

    Raises:
        ShapeError: embeddings of different shapes, or of one image.

    Source: Zbontar et al. 2021, equations 1 and 2. Differs: of batches smaller than the embeddings the D x D matrix is
        never made; see `redundancy`.

    >>> views = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    >>> round(barlow_twins_loss(views, views).item(), 6), round(barlow_twins_loss(views, -views).item(), 3)
    (0.0, 8.0)
    """
    parts = redundancy(first, second)
    return parts.on_diagonal + weight * parts.off_diagonal


def redundancy(first: Tensor, second: Tensor) -> Redundancy:
    """Both parts of `barlow_twins_loss`, unweighted and in float32 or more, under autocast too.

    Embeddings are standardised by the mean and the biased variance of each dimension in the batch. Where B < D the
    squares of all of C = Z1' Z2 / B are summed as those of two B x B matrices, for |Z1' Z2|^2 = tr(Z1 Z1' Z2 Z2'):
    time and memory then grow with D and not with its square. A constant dimension correlates with nothing: it adds 1.

    Args:
        first, second: (B, D) float, B >= 2.

    Raises:
        ShapeError: as `barlow_twins_loss`.

    >>> redundancy(torch.ones(4, 3), torch.ones(4, 3)).on_diagonal  # collapsed
    tensor(3.)
    """
    if first.ndim != 2 or first.shape != second.shape or len(first) < 2:
        raise ShapeError(
            "The loss of Barlow Twins", "two embeddings (B, D) of the same B >= 2 images",
            f"got {tuple(first.shape)} and {tuple(second.shape)}",
            "Embed both views of one batch, of at least two images.",
        )  # fmt: skip
    with torch.autocast(first.device.type, enabled=False):
        z1, z2 = standardise(first), standardise(second)
        diagonal = (z1 * z2).mean(dim=0)
        off = squares_by_gram(z1, z2) if len(z1) < z1.shape[1] else squares_directly(z1, z2)
    return Redundancy((1 - diagonal).square().sum(), off)


def standardise(embeddings: Tensor) -> Tensor:
    """(B, D) of mean 0 and biased variance 1 per dimension, in float32 or more; constant dimensions become 0."""
    wide = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
    centred = wide - wide.mean(dim=0)
    return centred * (centred.square().mean(dim=0) + EPS).rsqrt()


def squares_directly(z1: Tensor, z2: Tensor) -> Tensor:
    """Squares of Z1' Z2 / B beside the diagonal, summed; by the D x D matrix.

    Args:
        z1, z2: (B, D) float, standardised.
    """
    correlation = z1.T @ z2 / len(z1)
    return (correlation - torch.diag(correlation.diagonal())).square().sum()


def squares_by_gram(z1: Tensor, z2: Tensor) -> Tensor:
    """The same number by two B x B matrices, equal to about 1e-6 of all squares in float32.

    Args:
        z1, z2: (B, D) float, standardised.
    """
    every = ((z1 @ z1.T) * (z2 @ z2.T)).sum() / len(z1) ** 2
    return every - (z1 * z2).mean(dim=0).square().sum()
