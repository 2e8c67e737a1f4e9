"""What makes a network forget a bias, such as the tone of skin: losses, a reversed gradient, a head that looks for it.

Source of all: Bevan & Atapour-Abarghouei 2022 (skin tone), after Learning Not To Learn (Kim et al. 2019) and Turning a
Blind Eye (Alvi et al. 2018).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medgraft.errors import DataError, SettingsError, ShapeError

PUBLISHED_SCALE = 0.1
"""Of the reversed gradient. Source: the code of Bevan & Atapour-Abarghouei 2022."""


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.scale * gradients[0], None


def reverse_gradient(features: Tensor, scale: float = PUBLISHED_SCALE) -> Tensor:
    """Give features on unchanged, and their gradient back multiplied by -scale.

    What comes after learns to find the bias; what comes before learns to hide it.

    Args:
        features: of any shape.
        scale: at least 0; at 0 no gradient passes.

    Returns: like `features`.

    Source: Ganin & Lempitsky 2015.

    >>> features = torch.ones(2, requires_grad=True)
    >>> reverse_gradient(features, scale=0.5).sum().backward()
    >>> features.grad
    tensor([-0.5000, -0.5000])
    """
    reversed_: Tensor = _Reverse.apply(features, scale)
    return reversed_


class GradientReversal(nn.Module):
    """`reverse_gradient` as a layer.

    Args:
        scale: finite, at least 0.

    Raises:
        SettingsError: another scale.

    >>> GradientReversal(scale=0.1)
    GradientReversal(scale=0.1)
    """

    def __init__(self, scale: float = PUBLISHED_SCALE) -> None:
        super().__init__()
        if not 0 <= scale < math.inf:
            raise SettingsError(
                "GradientReversal", "a scale of at least 0", f"got {scale}", "Take 0.1, as published."
            )
        self.scale = scale

    def forward(self, features: Tensor) -> Tensor:
        return reverse_gradient(features, self.scale)

    def extra_repr(self) -> str:
        return f"scale={self.scale}"


class AuxiliaryHead(nn.Module):
    """Guess the bias from features.

    Args:
        features: how many, at least 1.
        classes: of the bias, at least 2.
        hidden: outputs of layers before the last, each followed by a ReLU; none as published.

    Raises:
        SettingsError: a number is too small.

    >>> AuxiliaryHead(features=8, classes=6)(torch.zeros(1, 8)).shape
    torch.Size([1, 6])
    """

    def __init__(self, features: int, classes: int, hidden: Sequence[int] = ()) -> None:
        super().__init__()
        if min(features, *hidden, classes - 1) < 1:
            raise SettingsError(
                "AuxiliaryHead", "at least one feature, two classes and one output per hidden layer",
                f"got {features} features, {classes} classes, hidden layers of {list(hidden)}", "Give more.",
            )  # fmt: skip
        layers: list[nn.Module] = []
        inputs = features
        for outputs in hidden:
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
            inputs = outputs
        self.layers = nn.Sequential(*layers, nn.Linear(inputs, classes))

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, F) to logits (B, K); B may be 1.

        Raises:
            ShapeError: the features have more axes, or one.
        """
        if features.ndim != 2:
            raise ShapeError(
                "AuxiliaryHead",
                "features (B, F)",
                f"got {tuple(features.shape)}",
                "Pool or flatten them first.",
            )
        logits: Tensor = self.layers(features)
        return logits


def negative_entropy(logits: Tensor) -> Tensor:
    """Minus the entropy of what is predicted: to minimise it is to predict nothing in particular.

    Args:
        logits: (B, K), of the bias.

    Returns: scalar float32 (or float64), sum over k of p log p, mean over the batch: from -ln K (nothing is known) to 0
        (certain).

    Raises:
        ShapeError: the logits have other axes, or one is empty.

    Source: Kim et al. 2019, equation 3; weight 0.01 there and in Bevan & Atapour-Abarghouei 2022. Differs: logarithms
        come from log-softmax, so that certain predictions stay finite.

    >>> round(negative_entropy(torch.zeros(1, 6)).item(), 4)
    -1.7918
    """
    logarithms = _log_probabilities("negative_entropy", logits)
    return (logarithms.exp() * logarithms).sum(dim=1).mean()


def confusion_loss(logits: Tensor) -> Tensor:
    """Cross-entropy between equal chances for all classes and what is predicted.

    Args:
        logits: (B, K), of the bias.

    Returns: scalar float32 (or float64), at least ln K, which all classes alike have.

    Raises:
        ShapeError: the logits have other axes, or one is empty.

    Source: Alvi et al. 2018, equation 4 (Tzeng et al. 2015). Differs from the code of Bevan & Atapour-Abarghouei 2022:
        its targets are random numbers whose sum is about K / 2, drawn anew for each batch. Their weight 0.03
        is then about 0.03 K / 2 here: 0.09 for six types.

    >>> round(confusion_loss(torch.zeros(1, 6)).item(), 4)
    1.7918
    """
    return -_log_probabilities("confusion_loss", logits).mean()


def inverse_frequency_weights(labels: Tensor, classes: int) -> Tensor:
    """Weights of classes for a cross-entropy in which every class counts the same.

    Args:
        labels: (N,) whole numbers from 0, below `classes`: of the training set.
        classes: how many.

    Returns: (classes,) float32 with sum 1, proportional to 1 / frequency; 0 for classes without a label.

    Raises:
        DataError: no labels, or others.

    Source: Bevan & Atapour-Abarghouei 2022 (their code). Differs: a class without a label is no division by 0.

    >>> inverse_frequency_weights(torch.tensor([0, 0, 0, 1]), classes=2)
    tensor([0.2500, 0.7500])
    """
    whole = labels.ndim == 1 and not labels.is_floating_point() and not labels.is_complex()
    if not whole or not len(labels) or not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise DataError(
            "inverse_frequency_weights", f"labels (N,) from 0 to {classes - 1}",
            f"got {labels.dtype} {tuple(labels.shape)}" + (", with others" if whole and len(labels) else ""),
            "Number the classes from 0 and leave out the unknown ones.",
        )  # fmt: skip
    counts = torch.bincount(labels.long(), minlength=classes).double()
    inverse = torch.where(counts > 0, 1 / counts.clamp(min=1), 0.0)
    return (inverse / inverse.sum()).float()


def _log_probabilities(who: str, logits: Tensor) -> Tensor:
    if logits.ndim != 2 or 0 in logits.shape:
        raise ShapeError(
            who,
            "logits (B, K) of at least one image",
            f"got {tuple(logits.shape)}",
            "Pass an AuxiliaryHead's.",
        )
    exact = logits if logits.dtype == torch.float64 else logits.float()
    return exact.log_softmax(dim=1)
