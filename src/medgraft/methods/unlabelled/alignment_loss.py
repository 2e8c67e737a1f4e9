"""How far the images of a batch lie from the source clusters that their own clusters are matched with."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Reduction = Literal["weighted_mean", "sum"]


def alignment_loss(
    features: Tensor,
    clusters: Tensor,
    centres: Tensor,
    matches: Tensor,
    reduction: Reduction = "weighted_mean",
) -> Tensor:
    """Squared distance between the mean of each target cluster in a batch and the centre of its source cluster.

    Args:
        features: (B, D) float, of target images; gradients flow through these.
        clusters: (B,) int64 in [0, K), the cluster of each image.
        centres: (L, D) float, mean features of the source's clusters.
        matches: (K,) int64 in [-1, L), the source cluster of each target cluster; -1 where it has none.
        reduction: `weighted_mean`: the mean over the D features, then over clusters by their images in the batch, so
            that neither changes the scale; `sum`: over both, as in the paper.

    Returns: scalar, at least 0, in float32 or more; clusters that are absent or have no match count nothing, and
        where all are such it is 0.

    Source: Goodman et al. 2022 (AIVA), equation 2 for `sum`; `weighted_mean` is what the published code computes.

    >>> features, centres = torch.tensor([[1.0, 1.0], [3.0, 1.0]]), torch.tensor([[0.0, 0.0], [2.0, 0.0]])
    >>> here, matches = torch.tensor([0, 0]), torch.tensor([1, 0])
    >>> alignment_loss(features, here, centres, matches), alignment_loss(features, here, centres, matches, "sum")
    (tensor(0.5000), tensor(1.))
    """
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    total, images = features.new_zeros(()), 0
    for cluster in sorted(set(clusters.tolist())):
        match = int(matches[cluster])
        if match < 0:
            continue
        mine = features[clusters == cluster]
        squares = (mine.mean(dim=0) - centres[match].to(features.dtype)).square()
        total = total + (squares.sum() if reduction == "sum" else squares.mean() * len(mine))
        images += len(mine)
    return total if reduction == "sum" else total / max(1, images)
