"""Whether features still tell images apart, without any label."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize


def effective_rank(features: Tensor) -> Tensor:
    """Number of directions that features fill: the exponential of the entropy of their singular values' shares.

    Args:
        features: (B, D) float; centred first.

    Returns: scalar float64 in [1, min(B - 1, D)]; 0 where all rows are equal, NaN where a feature is not finite. It may
        fall while features get better.

    Source: Roy & Vetterli 2007, definition 1. Differs: of centred features.

    >>> round(effective_rank(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])).item(), 6)
    2.0
    """
    wide = features.double()
    centred = wide - wide.mean(dim=0)
    rows, columns = centred.shape
    products = centred @ centred.T if rows < columns else centred.T @ centred
    finite = products.isfinite().all()
    # singular values below 1e-7 of the largest are rounding
    squares = torch.linalg.eigvalsh(products.where(finite, 0.0))
    singular = squares.where(squares > 1e-14 * squares.max(), 0).clamp(min=0).sqrt()
    shares = singular / singular.sum().clamp(min=torch.finfo(torch.float64).tiny)
    entropy = torch.special.entr(shares).sum()
    return torch.where(singular.sum() > 0, entropy.exp(), 0.0).where(finite, torch.nan)


def feature_deviation(features: Tensor) -> Tensor:
    """Mean over dimensions of the standard deviation (biased) over images.

    Args:
        features: (B, D) float.

    Returns: scalar float32 or more, at least 0.

    >>> feature_deviation(torch.tensor([[0.0, 1.0], [2.0, 1.0]]))
    tensor(0.5000)
    """
    wide = features.to(torch.promote_types(features.dtype, torch.float32))
    return wide.std(dim=0, correction=0).mean()


def alignment(first: Tensor, second: Tensor) -> Tensor:
    """Mean squared distance between features of two views of an image, on the unit sphere.

    Args:
        first: (B, D) float; each row is brought to length 1 (a row of zeros stays).
        second: (B, D), of other views of the same images.

    Returns: scalar float32 or more in [0, 4]; 0 where views are not told apart, 2 where they have nothing in common.

    Source: Wang & Isola 2020, equation 3 with alpha 2.

    >>> alignment(torch.tensor([[1.0, 0.0], [0.0, 3.0]]), torch.tensor([[2.0, 0.0], [1.0, 0.0]]))
    tensor(1.)
    """
    return (_on_sphere(first) - _on_sphere(second)).square().sum(1).mean()


def uniformity(features: Tensor) -> Tensor:
    """How evenly features lie on the unit sphere: log of the mean of exp(-2 d^2) over pairs of images d apart.

    Args:
        features: (B, D) float, B >= 2; each row is brought to length 1 (a row of zeros stays).

    Returns: scalar float32 or more in [-8, 0]; 0 where all features are the same, about -4 at best in many dimensions.

    Source: Wang & Isola 2020, equation 4 with t 2, over pairs of different images.

    >>> uniformity(torch.tensor([[1.0, 0.0], [-5.0, 0.0]]))  # opposite: d^2 is 4
    tensor(-8.)
    """
    rows = _on_sphere(features)
    with torch.autocast(rows.device.type, enabled=False):
        likeness = rows @ rows.T
    squares = rows.square().sum(1)
    distances = (squares[:, None] + squares - 2 * likeness).clamp(min=0)
    itself = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    count = len(rows) * (len(rows) - 1)
    return (-2 * distances).masked_fill(itself, -math.inf).flatten().logsumexp(0) - math.log(count)


def _on_sphere(features: Tensor) -> Tensor:
    return normalize(features.to(torch.promote_types(features.dtype, torch.float32)), dim=1)
