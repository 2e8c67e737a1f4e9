"""Which pixels a loss looks at more closely: those whose labels the source cannot foretell."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

FLOOR = 1e-6
"""Least expected prediction, so that the risk of a pixel is at most 13.8."""
FLAT = 1e-5
"""Risks that differ by less are equal: float32 tells no more."""


class RiskMap(BaseModel):
    """Weigh the pixels of a segmentation loss by the risk of negative transfer (transfer risk map).

    The source network, with its own head, looks at the same pixels as the training. Where its classes do not foretell
    the target's label, the risk r = -log e is high, e being the expected empirical prediction of LEEP. The
    cross-entropies are multiplied by weights that follow r, added up over the pixels of an image, and divided by its
    foreground instead of its size; images without foreground keep the plain mean. Other terms stay as they are.

    With the numerator `all` a small foreground makes the loss large, by image size over foreground: lower the learning
    rate, or take `foreground` for tiny lesions.

    >>> RiskMap().weights, RiskMap(numerator="foreground").base
    ('power', 10.0)

    Source: Duan et al. 2025 (transfer risk map). Of the paper only the abstract was available to us, none of its
    equations: which weights, which foreground and which pixels of the numerator are our reading, hence the choices.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights: Literal["power", "one_plus", "risk"] = "power"
    """With m, the risk from 0 to 1 between the least and the greatest of an image or crop: `power` is base^m,
    `one_plus` 1 + m. `risk` is the risk itself, which all but drops what the source foretells."""
    base: float = Field(default=10.0, gt=1)
    """Greatest weight of `power`; the least is 1."""
    numerator: Literal["all", "foreground"] = "all"
    """Whether all pixels are added up, or the foreground only; images without foreground then count as 0."""
    foreground: Literal["label", "intensity"] = "label"
    """`label`: pixels of any class but the first. `intensity`: pixels that differ from the darkest of their image by
    more than a hundredth of its range, which suits scans on a black background."""


def pixel_risk(expected: Tensor) -> Tensor:
    """The risk of transfer of each pixel, -log e.

    Args:
        expected: any shape, in [0, 1]: with what probability the source foretells the pixel's label.

    Returns: of the same shape, in [0, 13.8]; 0 where the source is certain and right.

    >>> pixel_risk(torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64))
    tensor([-0.0000,  0.6931, 13.8155], dtype=torch.float64)
    """
    return -expected.clamp(FLOOR, 1.0).log()


def spread_per_image(risk: Tensor, known: Tensor) -> Tensor:
    """The risk of each image stretched from 0 to 1.

    Args:
        risk: (B, *spatial) float.
        known: (B, *spatial) bool; others neither count nor get a value.

    Returns: (B, *spatial) in [0, 1]; 0 throughout where all known pixels of an image have the same risk.

    >>> risk = torch.tensor([[1.0, 2.0, 3.0], [4.0, 4.0, 9.0]])
    >>> spread_per_image(risk, risk < 9)
    tensor([[0.0000, 0.5000, 1.0000],
            [0.0000, 0.0000, 0.0000]])
    """
    flat, mask = risk.flatten(1), known.flatten(1)
    low = flat.masked_fill(~mask, torch.inf).amin(1, keepdim=True)
    spread = flat.masked_fill(~mask, -torch.inf).amax(1, keepdim=True) - low
    differs = spread > FLAT
    scaled = (flat - low) / torch.where(differs, spread, 1.0)
    return torch.where(differs & mask, scaled, 0.0).reshape(risk.shape)


def risk_weights(risk: Tensor, known: Tensor, foreground: Tensor, settings: RiskMap) -> Tensor:
    """Factors whose product with a loss per pixel, averaged over the known pixels of an image, is the weighted loss.

    So they hold the change of divisor too, from known pixels to foreground.

    Args:
        risk: (B, *spatial) float, at least 0.
        known: (B, *spatial) bool.
        foreground: (B, *spatial) bool.
        settings: which weights.

    Returns: (B, *spatial) float of the risk's dtype, at least 0.

    >>> risk = torch.tensor([[0.0, 1.0, 3.0, 4.0]])
    >>> risk_weights(risk, risk >= 0, risk == 4, RiskMap(weights="risk"))  # 4 pixels, 1 of them foreground
    tensor([[ 0.,  4., 12., 16.]])
    """
    if settings.weights == "risk":
        weights = risk
    else:
        scaled = spread_per_image(risk, known)
        weights = 1 + scaled if settings.weights == "one_plus" else settings.base**scaled
    shown = foreground & known
    axes = tuple(range(1, risk.ndim))
    size, area = (part.sum(axes, keepdim=True).to(risk.dtype) for part in (known, shown))
    factor = torch.where(area > 0, size / area.clamp(min=1), 1.0)
    if settings.numerator == "foreground":
        weights = weights * shown
    return weights * factor


def foreground_of(images: Tensor, truth: Tensor, settings: RiskMap) -> Tensor:
    """Which pixels are foreground.

    Args:
        images: (B, C, *spatial) float, as the network sees them.
        truth: (B, *spatial) int64.

    Returns: (B, *spatial) bool.

    >>> images = torch.tensor([[[0.1, 0.1, 0.5, 1.1]]])
    >>> foreground_of(images, torch.tensor([[0, 1, 1, 0]]), RiskMap()).tolist()
    [[False, True, True, False]]
    >>> foreground_of(images, torch.tensor([[0, 1, 1, 0]]), RiskMap(foreground="intensity")).tolist()
    [[False, False, True, True]]
    """
    if settings.foreground == "label":
        return truth > 0
    axes = tuple(range(2, images.ndim))
    low, high = images.amin(axes, keepdim=True), images.amax(axes, keepdim=True)
    return ((images - low) > 0.01 * (high - low)).any(dim=1)
