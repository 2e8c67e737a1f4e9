"""The cheapest plan that carries the source images of a batch to its target images, and what each pair costs."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def feature_costs(source: Tensor, target: Tensor) -> Tensor:
    """Mean over features of the squared difference, of every source image and every target image.

    Args:
        source: (n, D) float; target: (m, D) float; gradients flow through both.

    Returns: (n, m) float64, at least 0.

    Source: Damodaran et al. 2018 (DeepJDOT). Differs: the mean, not the sum, so that costs do not grow with the layer.

    >>> feature_costs(torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 3.0], [0.0, 0.0]])).tolist()
    [[5.0, 0.0]]
    """
    one, other = source.double(), target.double()  # squares of large norms cancel
    squares = one.square().sum(dim=1)[:, None] + other.square().sum(dim=1)[None] - 2 * one @ other.T
    return squares.clamp(min=0) / one.shape[1]


def label_costs(truth: Tensor, outputs: Tensor, ignore_label: int | None = None) -> Tensor:
    """Cross-entropy of every target prediction against every source truth, a mean over the truth's known pixels.

    Args:
        truth: (n,) or (n, *spatial) int64, of source images.
        outputs: (m, K) or (m, K, *spatial) float, raw, of target images; gradients flow through these.
        ignore_label: class number of pixels or images that cost nothing.

    Returns: (n, m) float64, at least 0.

    Source: Damodaran et al. 2018 (DeepJDOT); Ackaouy et al. 2020 (Seg-JDOT) for masks.

    >>> label_costs(torch.tensor([0, 1]), torch.tensor([[0.0, 0.0], [9.0, 0.0]])).round(decimals=2).tolist()
    [[0.69, 0.0], [0.69, 9.0]]
    """
    known = torch.ones_like(truth, dtype=torch.bool) if ignore_label is None else truth != ignore_label
    classes = functional.one_hot(truth.where(known, 0), outputs.shape[1]) * known[..., None]
    wanted = classes.movedim(-1, 1).flatten(1).double()
    said = outputs.double().log_softmax(dim=1).flatten(1)
    pixels = known.reshape(len(known), -1).sum(dim=1).clamp(min=1)
    return -(wanted @ said.T) / pixels[:, None]


def transport_plan(costs: Tensor) -> Tensor:
    """How much of each source image goes to each target image, at the smallest sum of costs (optimal transport).

    All source images weigh the same, and all target images.

    Args:
        costs: (n, m) float.

    Returns: (n, m) float64 without gradient; rows have the sum 1 / n, columns 1 / m. Where a cost is not finite, all
        pairs get the same: the loss then is not finite either, which training refuses.

    Source: Bonneel et al. 2011, the network simplex that the package POT (Flamary et al. 2021) holds.

    >>> transport_plan(torch.tensor([[3.0, 1.0], [1.0, 3.0]])).tolist()
    [[0.0, 0.5], [0.5, 0.0]]
    >>> transport_plan(torch.tensor([[3.0, 1.0]])).tolist()
    [[0.5, 0.5]]
    """
    import ot

    (n, m), price = costs.shape, costs.detach().double().cpu().numpy()
    if not np.isfinite(price).all():
        return torch.full((n, m), 1 / (n * m), dtype=torch.float64, device=costs.device)
    plan = ot.emd(np.full(n, 1 / n), np.full(m, 1 / m), price)
    return torch.from_numpy(plan).to(costs.device)
