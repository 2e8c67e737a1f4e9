"""Losses and accuracy of POPAR: say where each patch belongs, and give the clean image back.

Source of all: Pang et al. 2022, section 3, with the means of their code where the paper writes sums.
"""

from __future__ import annotations

import math
from typing import Annotated, NamedTuple, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor
from torch.nn.functional import cross_entropy

from medgraft.errors import ShapeError

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class SubTasks(BaseModel):
    """Weights of the three things POPAR learns; 0 switches one off, and the others keep their weights.

    >>> SubTasks(transformed=0).identity_chance
    0.0
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    order: Weight = 0.5
    """Of saying where each patch belongs."""
    misplaced: Weight = 0.5
    """Of giving back images whose patches were permuted."""
    transformed: Weight = 0.5
    """Of giving back images whose appearance was changed."""

    @model_validator(mode="after")
    def _one_is_on(self) -> Self:
        if not (self.order or self.misplaced or self.transformed):
            raise ValueError("at least one weight must be above 0")
        return self

    @property
    def identity_chance(self) -> float:
        """Probability that an image keeps its order and changes its appearance.

        One half as published; all or no images where a single kind is learned from.
        """
        if not self.transformed:
            return 0.0
        return 0.5 if self.order or self.misplaced else 1.0


PUBLISHED = SubTasks()


class PoparLoss(NamedTuple):
    """The loss and its three terms, scalars; `total` is their sum, each times its weight."""

    total: Tensor
    order: Tensor
    """Cross-entropy in nats, of all images."""
    misplaced: Tensor
    """Squared error, of permuted images; a share of the mean over the whole batch."""
    transformed: Tensor
    """The same, of the others; with `misplaced` it makes up the mean squared error of the batch."""


def order_loss(logits: Tensor, order: Tensor) -> Tensor:
    """Cross-entropy of where each patch belongs.

    Args:
        logits: (B, P, P): of each place, a score for each patch that may stand there.
        order: (B, P) int64: which patch does, from 0; a permutation, or 0 .. P - 1 where nothing was moved.

    Returns: scalar in nats, float32 or more: the mean over places and images; ln P where nothing is known.

    Raises:
        ShapeError: the two do not fit together, or there is no image.

    Source: Pang et al. 2022, section 3. Differs: the mean over places as in their code, not the sum.

    >>> round(order_loss(torch.zeros(1, 196, 196), torch.arange(196)[None]).item(), 2)
    5.28
    """
    _check_order("order_loss", logits, order)
    logits = logits.float() if logits.element_size() < 4 else logits
    return cross_entropy(logits.flatten(0, 1), order.to(logits.device).flatten())


def restoration_errors(restored: Tensor, clean: Tensor) -> Tensor:
    """Mean squared error of each image.

    Args:
        restored: (B, C, H, W) float.
        clean: (B, C, H, W) float: neither permuted nor changed, standardised as the network's input is.

    Returns: (B,) float32 or more, at least 0; their mean is that over all pixels.

    Raises:
        ShapeError: the two are not alike, or there is no image.

    Source: Pang et al. 2022, section 3. Differs: the mean over pixels as in their code, not the sum.

    >>> restoration_errors(torch.zeros(2, 1, 2, 2), torch.tensor([1.0, 2.0]).reshape(2, 1, 1, 1).expand(2, 1, 2, 2))
    tensor([1., 4.])
    """
    if clean.ndim != 4 or restored.shape != clean.shape or 0 in clean.shape:
        raise ShapeError(
            "restoration_errors", "two images (B, C, H, W) alike",
            f"got {tuple(restored.shape)} and {tuple(clean.shape)}",
            "Give the head the stride of the network, so that it restores images of the size it saw.",
        )  # fmt: skip
    difference = restored.float() - clean.float() if clean.element_size() <= 4 else restored - clean
    return difference.square().flatten(1).mean(1)


def popar_loss(
    logits: Tensor,
    order: Tensor,
    restored: Tensor,
    clean: Tensor,
    permuted: Tensor,
    subtasks: SubTasks = PUBLISHED,
) -> PoparLoss:
    """What a network still gets wrong of order and appearance.

    Args:
        logits: (B, P, P), and
        order: (B, P), as for `order_loss`.
        restored: (B, C, H, W), and
        clean: (B, C, H, W), as for `restoration_errors`.
        permuted: (B,) bool: images whose patches were moved; of the others the appearance was changed.
        subtasks: weights. Both errors of restoring are divided by all images of the batch, so that an image counts
            the same whatever stands beside it.

    Returns: the loss and its terms.

    Raises:
        ShapeError: the tensors do not fit together, or there is no image.

    Source: Pang et al. 2022, section 3 (lambda 0.5) and section 5 (three sub-tasks). How the sub-tasks are
        switched off is not published; this is ours.

    >>> flat = torch.zeros(2, 4, 4), torch.arange(4).repeat(2, 1)
    >>> images = torch.zeros(2, 1, 2, 2), torch.ones(2, 1, 2, 2)
    >>> loss = popar_loss(*flat, *images, torch.tensor([True, False]))
    >>> [round(term.item(), 3) for term in loss]  # 0.5 ln 4 + 0.5 (0.5 + 0.5)
    [1.193, 1.386, 0.5, 0.5]
    """
    _check_images("popar_loss", len(order), len(clean), permuted)
    ordering, errors = order_loss(logits, order), restoration_errors(restored, clean)
    moved = permuted.to(errors.device)
    misplaced, transformed = (errors.masked_fill(~chosen, 0.0).mean() for chosen in (moved, ~moved))
    total = subtasks.order * ordering + subtasks.misplaced * misplaced + subtasks.transformed * transformed
    return PoparLoss(total, ordering, misplaced, transformed)


class OrderAccuracy(NamedTuple):
    """Share of patches whose place is said rightly, in [0, 1]; NaN where there are no such images."""

    permuted: float
    """Of images whose patches were moved: by guessing, 1 / P."""
    identity: float
    """Of the others: 1 for a network that only repeats the position, so it says little."""


def order_accuracy(logits: Tensor, order: Tensor, permuted: Tensor) -> OrderAccuracy:
    """How often the highest score is that of the right patch, apart for permuted images and others.

    Args:
        logits: (B, P, P), and
        order: (B, P), as for `order_loss`.
        permuted: (B,) bool: images whose patches were moved.

    Raises:
        ShapeError: the three do not fit together, or there is no image.

    >>> says_the_position = torch.eye(3).expand(2, 3, 3)
    >>> order_accuracy(says_the_position, torch.tensor([[0, 1, 2], [1, 2, 0]]), torch.tensor([False, True]))
    OrderAccuracy(permuted=0.0, identity=1.0)
    """
    _check_order("order_accuracy", logits, order)
    _check_images("order_accuracy", len(order), len(logits), permuted)
    right = (logits.argmax(2) == order.to(logits.device)).double().mean(1)
    moved = permuted.to(right.device)
    shares = (right[chosen].mean().item() if chosen.any() else math.nan for chosen in (moved, ~moved))
    return OrderAccuracy(*shares)


def _check_order(who: str, logits: Tensor, order: Tensor) -> None:
    if logits.ndim != 3 or 0 in logits.shape or logits.shape != (*order.shape, logits.shape[1]):
        raise ShapeError(
            who, "logits (B, P, P) and the order (B, P) of at least one image",
            f"got {tuple(logits.shape)} and {tuple(order.shape)}",
            "Cut patches of the network's stride, so that there are as many as places in its last map.",
        )  # fmt: skip


def _check_images(who: str, orders: int, images: int, permuted: Tensor) -> None:
    if orders != images or permuted.shape != (images,) or permuted.dtype != torch.bool:
        raise ShapeError(
            who, "for each image its order and whether it was permuted, bool (B,)",
            f"there are {images} images, {orders} orders and {permuted.dtype} {tuple(permuted.shape)}",
            "Take `is_permuted` of the order.",
        )  # fmt: skip
