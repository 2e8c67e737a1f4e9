"""Whether features still tell images apart, without any label."""

from __future__ import annotations

import torch
from torch import Tensor


def effective_rank(features: Tensor) -> Tensor:
    """Number of directions that features fill: the exponential of the entropy of their singular values' shares.

    Args:
        features: (B, D) float; centred first.

    Returns: scalar float64 in [1, min(B - 1, D)]; 0 where all rows are equal. It may fall while features get better.

    Source: Roy & Vetterli 2007, definition 1. Differs: of centred features.

    >>> round(effective_rank(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])).item(), 6)
    2.0
    """
    wide = features.double()
    centred = wide - wide.mean(dim=0)
    rows, columns = centred.shape
    products = centred @ centred.T if rows < columns else centred.T @ centred
    # singular values below 1e-7 of the largest are rounding
    squares = torch.linalg.eigvalsh(products)
    singular = squares.where(squares > 1e-14 * squares.max(), 0).clamp(min=0).sqrt()
    shares = singular / singular.sum().clamp(min=torch.finfo(torch.float64).tiny)
    entropy = torch.special.entr(shares).sum()
    return torch.where(singular.sum() > 0, entropy.exp(), 0.0)


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
