"""Losses by name, computed in float32, in which every image counts the same.

One rule for all: within an image its known labels or pixels are averaged, then images are averaged; an image
of which nothing is known counts as 0. So the loss of a batch is the mean of the losses of its halves,
always: with class weights, ignored pixels and missing labels too. PyTorch's weighted means differ there, as
    they divide by the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor
from torch.nn import functional

from medgraft.errors import SettingsError
from medgraft.models.risk_map import RiskMap
from medgraft.types import Kind

Term = Literal["cross_entropy", "binary_cross_entropy", "soft_dice"]
LossName = Literal[
    "cross_entropy", "binary_cross_entropy", "soft_dice", "dice_cross_entropy", "binary_cross_entropy_dice"
]


class Loss(Protocol):
    """A function (outputs, truth) -> scalar; with a risk map the factors of pixels come third."""

    def __call__(self, outputs: Tensor, truth: Tensor, pixel_weights: Tensor | None = None, /) -> Tensor:
        """The mean over the images of a batch."""
        ...


NAMED: dict[LossName, dict[Term, float]] = {
    "cross_entropy": {"cross_entropy": 1.0},
    "binary_cross_entropy": {"binary_cross_entropy": 1.0},
    "soft_dice": {"soft_dice": 1.0},
    "dice_cross_entropy": {"soft_dice": 0.5, "cross_entropy": 0.5},
    "binary_cross_entropy_dice": {"binary_cross_entropy": 0.4, "soft_dice": 0.6},
}
TERMS: dict[Kind, frozenset[Term]] = {
    "classify": frozenset(("cross_entropy",)),
    "multilabel": frozenset(("binary_cross_entropy",)),
    "segment": frozenset(("cross_entropy", "binary_cross_entropy", "soft_dice")),
}
"""What suits each kind."""
DEFAULTS: dict[Kind, LossName] = {
    "classify": "cross_entropy",
    "multilabel": "binary_cross_entropy",
    "segment": "dice_cross_entropy",
}


class LossSettings(BaseModel):
    """Which loss, by name or as a weighted sum of terms.

    >>> LossSettings.default("segment").weighted_terms() == {"soft_dice": 0.5, "cross_entropy": 0.5}
    True
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: LossName | None = None
    """A loss; `dice_cross_entropy` weighs both 0.5, `binary_cross_entropy_dice` 0.4 and 0.6."""
    terms: dict[Term, float] | None = None
    """Weight of each term of a sum of your own; instead of `name`."""
    class_weights: tuple[float, ...] | None = None
    """Factor of each class (label) in every term; cross-entropies do not divide by their sum."""
    positive_weights: tuple[float, ...] | None = None
    """Factor of each label's positive cases in binary cross-entropy; `multilabel` only."""
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the truth spread evenly over the classes, in both cross-entropies."""
    ignore_label: int | None = None
    """Class number of images or pixels that are left out."""
    dice_background: bool = True
    """Whether class 0 counts in soft Dice."""
    dice_smoothing: float = Field(default=1e-5, gt=0.0)
    """Pixels added to numerator and denominator of each Dice; two empty masks then agree."""
    risk_map: RiskMap | None = None
    """Weigh the pixels of both cross-entropies by the risk of transfer; `segment` only, by methods that start from a
    source that segments."""

    @model_validator(mode="after")
    def _consistent(self) -> LossSettings:
        if (self.name is None) == (self.terms is None):
            raise ValueError("give either name or terms")
        weights = list(self.weighted_terms().values())
        if not weights or min(weights) < 0 or max(weights) == 0:
            raise ValueError("terms need weights of at least 0, and one above 0")
        if self.risk_map is not None and not set(self.weighted_terms()) - {"soft_dice"}:
            raise ValueError("risk_map weighs pixels of a cross-entropy, and soft Dice alone has none")
        for weighted in (self.class_weights, self.positive_weights):
            if weighted is not None and (min(weighted, default=0) < 0 or max(weighted, default=0) == 0):
                raise ValueError("class_weights and positive_weights must be at least 0, and one above 0")
        return self

    @classmethod
    def default(cls, kind: Kind) -> LossSettings:
        """The usual loss of a kind: cross-entropy, binary cross-entropy, or Dice and cross-entropy."""
        if kind not in DEFAULTS:
            raise SettingsError(
                "A loss", f"a kind among {', '.join(DEFAULTS)}", f"got {kind!r}", "Choose one of these kinds."
            )
        return cls(name=DEFAULTS[kind])

    def weighted_terms(self) -> Mapping[Term, float]:
        """Weight of each term."""
        return self.terms if self.terms is not None else NAMED[self.name or "cross_entropy"]


def build_loss(settings: LossSettings, kind: Kind) -> Loss:
    """A function (outputs, truth) -> scalar float32 loss; with a risk map (outputs, truth, pixel weights).

    Its inputs are, by kind: `classify` (B, K) raw outputs and (B,) int64 classes; `multilabel` (B, K) and
    (B, K) float in [0, 1], NaN where missing; `segment` (B, K, *spatial) and (B, *spatial) int64. Pixel weights are
    (B, *spatial) float, factors of the cross-entropies before their mean over an image; see `risk_weights`.

    Raises:
        SettingsError: a term or a risk map does not suit the kind, or weights are not one per class, or there are none
            of pixels for a risk map (on the first call).

    >>> loss = build_loss(LossSettings(name="cross_entropy"), "classify")
    >>> round(loss(torch.zeros(4, 2), torch.tensor([0, 1, 1, 0])).item(), 4)
    0.6931
    """
    terms = settings.weighted_terms()
    unsuited = sorted(set(terms) - TERMS.get(kind, frozenset()))
    if unsuited:
        raise SettingsError(
            f"The loss for kind {kind!r}", f"terms among {', '.join(sorted(TERMS.get(kind, ()))) or 'none'}",
            f"got {unsuited[0]}", "Choose another loss.",
        )  # fmt: skip
    if settings.positive_weights is not None and kind != "multilabel":
        raise SettingsError(
            "positive_weights", "kind 'multilabel'", f"the kind is {kind!r}", "Use class_weights instead."
        )

    if settings.risk_map is not None and kind != "segment":
        raise SettingsError(
            "risk_map",
            "kind 'segment'",
            f"the kind is {kind!r}",
            "Leave it out: only pixels have a risk map.",
        )

    def loss(outputs: Tensor, truth: Tensor, pixel_weights: Tensor | None = None, /) -> Tensor:
        if settings.risk_map is not None and pixel_weights is None:
            raise SettingsError(
                "risk_map", "a method that weighs pixels by the source's risk", "this one does not",
                "Leave it out, or choose one that fine-tunes a source.",
            )  # fmt: skip
        # Low precision ends here: sums over pixels and logarithms need float32.
        raw = outputs.float()
        _check_weights(settings, raw.shape[1])
        total = raw.new_zeros(())
        for term, weight in terms.items():
            total = total + weight * _per_image(term, raw, truth, settings, kind, pixel_weights).mean()
        return total

    return loss


def _per_image(
    term: Term,
    outputs: Tensor,
    truth: Tensor,
    settings: LossSettings,
    kind: Kind,
    pixel_weights: Tensor | None,
) -> Tensor:
    if term == "cross_entropy":
        return cross_entropy(outputs, truth, settings, pixel_weights)
    if kind == "multilabel":
        return label_cross_entropy(outputs, truth, settings)
    if term == "soft_dice":
        return soft_dice_loss(outputs, truth, settings)
    return pixel_cross_entropy(outputs, truth, settings, pixel_weights)


def cross_entropy(
    outputs: Tensor, truth: Tensor, settings: LossSettings, pixel_weights: Tensor | None = None
) -> Tensor:
    """Cross-entropy of each image, averaged over its pixels: (B, K, *spatial) and (B, *spatial) to (B,)."""
    known = _known(truth, settings)
    each = functional.cross_entropy(
        outputs,
        truth.where(known, 0),
        weight=_weights(settings.class_weights, outputs),
        reduction="none",
        label_smoothing=settings.label_smoothing,
    )
    return _mean_known(each if pixel_weights is None else each * pixel_weights, known)


def label_cross_entropy(outputs: Tensor, truth: Tensor, settings: LossSettings) -> Tensor:
    """Binary cross-entropy of each image, averaged over its known labels: (B, K) and (B, K) to (B,)."""
    known = ~truth.isnan()
    # The filler never counts; it only keeps NaN out of the gradient.
    wanted = truth.float().where(known, 0.0)
    wanted = wanted * (1 - settings.label_smoothing) + settings.label_smoothing / 2
    each = functional.binary_cross_entropy_with_logits(
        outputs,
        wanted,
        weight=_weights(settings.class_weights, outputs),
        pos_weight=_weights(settings.positive_weights, outputs),
        reduction="none",
    )
    return _mean_known(each, known)


def pixel_cross_entropy(
    outputs: Tensor, truth: Tensor, settings: LossSettings, pixel_weights: Tensor | None = None
) -> Tensor:
    """Binary cross-entropy of each class's probability against the rest, averaged over classes and known
    pixels.

    Probabilities are the softmax that predictions use, so that with two classes this is the usual binary
    cross-entropy of the foreground, whose logit is the difference of the two outputs.

    Args:
        outputs: (B, K, *spatial) float32, K >= 2.
        truth: (B, *spatial) int64.
        pixel_weights: (B, *spatial) factors of pixels; None for 1.

    Returns: (B,) float32.
    """
    known = _known(truth, settings)
    wanted = _one_hot(truth.where(known, 0), outputs)
    wanted = wanted * (1 - settings.label_smoothing) + settings.label_smoothing / 2
    everything = outputs.logsumexp(dim=1, keepdim=True)
    # log(1 - p) as the log-sum over the other classes: exact where p rounds to 1.
    others = [
        [other for other in range(outputs.shape[1]) if other != label] for label in range(outputs.shape[1])
    ]
    rest = torch.stack([outputs[:, indices].logsumexp(dim=1) for indices in others], dim=1)
    each = -(wanted * (outputs - everything) + (1 - wanted) * (rest - everything))
    weights = _weights(settings.class_weights, outputs)
    if weights is not None:
        each = each * weights.view(1, -1, *(1 for _ in outputs.shape[2:]))
    each = each.mean(dim=1)
    return _mean_known(each if pixel_weights is None else each * pixel_weights, known)


def soft_dice_loss(outputs: Tensor, truth: Tensor, settings: LossSettings) -> Tensor:
    """One minus the soft Dice of each image, averaged over classes.

    Dice of a class is (2 sum(p t) + s) / (sum(p) + sum(t) + s) with softmax p, truth t of 0 and 1, and
    smoothing s. A class absent from an image costs 0 if it is given no probability there, and about 1 as
    soon as it is given some.

    Args:
        outputs: (B, K, *spatial) float32.
        truth: (B, *spatial) int64.

    Returns: (B,) float32 in [0, 1].

    Source: Milletari et al. 2016. Differs: no squares in the denominator, one term per image and class.
    """
    known = _known(truth, settings)
    mask = known.unsqueeze(1)
    probabilities = (outputs.softmax(dim=1) * mask).flatten(2)
    wanted = (_one_hot(truth.where(known, 0), outputs) * mask).flatten(2)
    shared = (probabilities * wanted).sum(dim=2)
    both = probabilities.sum(dim=2) + wanted.sum(dim=2)
    lost = 1 - (2 * shared + settings.dice_smoothing) / (both + settings.dice_smoothing)
    weights = _weights(settings.class_weights, outputs)
    weights = torch.ones_like(lost[0]) if weights is None else weights
    start = 0 if settings.dice_background else 1
    return (lost * weights)[:, start:].sum(dim=1) / weights[start:].sum()


def _known(truth: Tensor, settings: LossSettings) -> Tensor:
    if settings.ignore_label is None:
        return torch.ones_like(truth, dtype=torch.bool)
    return truth != settings.ignore_label


def _mean_known(each: Tensor, known: Tensor) -> Tensor:
    """(B, ...) values to (B,): the mean over what is known of each image, 0 where nothing is."""
    values, mask = each.flatten(1) if each.ndim > 1 else each[:, None], known.reshape(len(known), -1)
    return values.where(mask, 0.0).sum(dim=1) / mask.sum(dim=1).clamp(min=1)


def _one_hot(truth: Tensor, outputs: Tensor) -> Tensor:
    return functional.one_hot(truth, outputs.shape[1]).movedim(-1, 1).to(outputs.dtype)


def _weights(values: tuple[float, ...] | None, outputs: Tensor) -> Tensor | None:
    return None if values is None else outputs.new_tensor(values)


def _check_weights(settings: LossSettings, classes: int) -> None:
    for name in ("class_weights", "positive_weights"):
        values: tuple[float, ...] | None = getattr(settings, name)
        if values is not None and len(values) != classes:
            raise SettingsError(
                name,
                f"one number per class ({classes})",
                f"got {len(values)}",
                "List them in the order of the classes.",
            )
