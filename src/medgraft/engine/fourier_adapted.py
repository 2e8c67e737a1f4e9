"""A model that sees images of another site in the contrast of the source's: predictions of several such versions."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from pydantic import Field as Setting
from torch import Tensor

from medgraft.data.slice_positions import COLUMN
from medgraft.engine.donor_bank import DonorBank, How
from medgraft.engine.memory_order import channels_last
from medgraft.engine.randomness import generator
from medgraft.errors import DataError, ModelError
from medgraft.images.fourier import Output
from medgraft.metrics.segmentation import count_overlap
from medgraft.models.model import Model, Prediction, evaluation_mode, register
from medgraft.models.spec import ModelSpec
from medgraft.models.wrapped import Wrapped
from medgraft.types import JSON, Kind

AT_ONCE = 32
"""Images that go through the network together."""


class Restyling(BaseModel):
    """How images get the contrast of donors, and when their plain prediction is kept instead.

    >>> Restyling(how="2d").donors
    7
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    how: How = "3d"
    """How donors are chosen. 3d: the scans whose slices are the most similar on average; 2d: for each slice the most
    similar ones at its place; 2.5d: also up to two slices away; random: any scan, anew for each slice."""
    donors: int = Setting(default=7, ge=1)
    """Versions of each image, whose probabilities are averaged; at most as many as there are donor scans."""
    match: Literal["index", "position"] = "index"
    """What is the same place in two scans: the number of the slice, or the column position_mm of the manifest."""
    output: Output = "real"
    """What the network sees: the inverse transform (real), or its modulus divided by its maximum (abs_max), as the
    authors do. The latter is for networks trained on values from 0 to 1 only."""
    least_agreement: float | None = Setting(default=None, ge=0, le=1)
    """The plain prediction of a scan is kept where the adapted one agrees less with it: mean Dice over the foreground
    classes; of classifiers the share of equal labels. None keeps it never for that reason."""
    most_confidence_lost: float | None = Setting(default=None, ge=0, le=1)
    """It is also kept where adapting lowers the mean probability of the predicted class by more. None: never."""

    @property
    def has_limits(self) -> bool:
        """Whether plain predictions may be kept."""
        return self.least_agreement is not None or self.most_confidence_lost is not None


@register
class FourierAdapted(Wrapped):
    """A trained model that predicts images in the contrast of donor scans, which it carries with it.

    `predict` gives every slice the low-frequency amplitude of several donors and averages the probabilities of these
    versions. It takes a whole scan at a time, in order: donors are chosen for slices by their place in it. Outputs
    are logarithms of the averaged probabilities (logits for `multilabel`). `forward` and `features` are those of the
    network, of images as they are.

    `remarks` tells for which rows the plain prediction was kept.

    Args:
        spec: that of the network.
        network: the trained model, of two-dimensional images without patches; itself, not a copy.
        bank: the donors.
        beta: of `DonorBank.restyle`; at 0 or below predictions are the network's, image by image.
        restyling: the rest of the settings.
        seed: of the donors chosen at `random`; the same ones are drawn for every scan of as many slices.

    Raises:
        ModelError: the network is another, or beta greater than the bank's.

    Source: Zakazov et al. 2022 (Feather-Light Fourier Domain Adaptation). Differs: see `swap_amplitude`; blank donor
        slices lend nothing; the limits are ours.

    >>> from medgraft.testing import make_model
    >>> scans = torch.rand(3, 5, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    >>> network = make_model("segment")
    >>> model = FourierAdapted(network.spec, network=network, bank=DonorBank.from_scans(scans), beta=0.03)
    >>> model.predict(2 * scans[0]).probabilities.shape
    torch.Size([5, 2, 48, 48])
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset(("classify", "multilabel", "segment"))

    def __init__(
        self,
        spec: ModelSpec,
        *,
        network: Model,
        bank: DonorBank,
        beta: float,
        restyling: Restyling | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(spec)
        if spec.preparation.patch is not None:
            raise ModelError(
                "FourierAdapted", "a network that sees whole slices",
                f"this one sees patches of {spec.preparation.patch}", "Start from one trained without a patch.",
            )  # fmt: skip
        if bank.channels != spec.channels or not beta <= bank.beta:
            raise ModelError(
                "FourierAdapted", f"a bank of {spec.channels} channels with a beta of at least {beta}",
                f"this one has {bank.channels} and {bank.beta}", "Build the bank for this network and beta.",
            )  # fmt: skip
        self.network, self.bank = network, bank
        self.beta, self.restyling, self.seed = beta, restyling or Restyling(), seed
        self.predict_by = "patient" if beta > 0 else "image"

    def config(self) -> JSON:
        """The network, what rebuilds the bank, and the settings."""
        return {
            "network": self.network,
            "bank": self.bank.config(),
            "beta": self.beta,
            "restyling": self.restyling.model_dump(mode="json"),
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: JSON, spec: ModelSpec) -> Self:
        """The model with an empty bank, ready to be loaded."""
        parts: dict[str, Any] = {
            "bank": DonorBank.from_config(config["bank"]),
            "restyling": Restyling(**config["restyling"]),
        }
        return cls(spec, **(config | parts))

    def predict(
        self, images: Tensor, rows: np.ndarray | None = None, positions: np.ndarray | None = None
    ) -> Prediction:
        """Predict all slices of a scan, in evaluation mode, without gradient; every module keeps its mode.

        Args:
            images: (n, C, H, W) float, prepared as `spec.preparation` says, of the size of the donors.
            rows: (n,) positions in the cohort, for remarks.
            positions: (n,) mm, needed where slices are matched by position.

        Raises:
            ShapeError: slices of another size than the donors', or too small to be compared.
            DataError: positions are missing; or a single slice where donor scans have several, matched by number.
        """
        if self.beta <= 0:
            return self.network.predict(images, rows=rows)
        with evaluation_mode(self), torch.no_grad():
            chosen = self._choose(images, positions)
            together = max(1, AT_ONCE // chosen.shape[1])
            parts = zip(torch.split(images, together), torch.split(chosen, together))
            adapted = self._told(torch.cat([self._averaged(*part) for part in parts]))
        return self._safer(images, adapted, rows) if self.restyling.has_limits else adapted

    def _choose(self, images: Tensor, positions: np.ndarray | None) -> Tensor:
        settings = self.restyling
        if settings.match == "position" and positions is None:
            raise DataError(
                "Matching slices by position", f"the column '{COLUMN}' in the manifest, a row per slice",
                "the images have none", "Add it, or adapt with match=index.",
            )  # fmt: skip
        if settings.match == "index" and len(images) == 1 < min(self.bank.slices):
            raise DataError(
                "Matching slices by their number", "all slices of a scan together",
                f"this scan has one slice, and those of the donors have {min(self.bank.slices)} or more",
                "Name the patient of each slice in the manifest's column 'patient', for images and donors alike.",
            )  # fmt: skip
        index = torch.arange(len(images))
        if settings.match == "position":
            index = torch.as_tensor(positions, dtype=torch.float32)
        count = (
            settings.donors if len(self.bank.slices) > 1 else 1
        )  # chance would draw the only one many times
        return self.bank.choose(images, index, settings.how, count, generator(self.seed, "donors"))

    def _averaged(self, images: Tensor, chosen: Tensor) -> Tensor:
        """Mean probabilities of the versions of (b, C, H, W) with (b, n) donors."""
        versions = images.repeat_interleave(chosen.shape[1], dim=0)
        styled = self.bank.restyle(versions, chosen.flatten(), self.beta, self.restyling.output)
        probabilities = self.network.predict(channels_last(styled)).probabilities.float()
        return probabilities.view(*chosen.shape, *probabilities.shape[1:]).mean(dim=1)

    def _told(self, probabilities: Tensor) -> Prediction:
        """Averaged probabilities as a prediction; the least ones stay above 0, so that logarithms are numbers."""
        least = torch.finfo(probabilities.dtype).tiny
        if self.spec.kind == "multilabel":
            return Prediction(probabilities.logit(eps=1e-7), probabilities, (probabilities > 0.5).long())
        return Prediction(probabilities.clamp(min=least).log(), probabilities, probabilities.argmax(dim=1))

    def _safer(self, images: Tensor, adapted: Prediction, rows: np.ndarray | None) -> Prediction:
        """The adapted prediction of a scan, or the plain one, bit for bit, where a limit is passed."""
        parts = [self.network.predict(part) for part in torch.split(images, AT_ONCE)]
        plain = Prediction(*(torch.cat(tensors) for tensors in zip(*parts)))
        settings, reasons = self.restyling, []
        alike = agreement(plain, adapted, self.spec)
        if settings.least_agreement is not None and alike < settings.least_agreement:
            reasons.append(f"agreement {alike:.3f} is below {settings.least_agreement:g}")
        lost = confidence(plain, self.spec) - confidence(adapted, self.spec)
        if settings.most_confidence_lost is not None and lost > settings.most_confidence_lost:
            reasons.append(f"confidence falls by {lost:.3f}, more than {settings.most_confidence_lost:g}")
        if not reasons:
            return adapted
        for row in () if rows is None else rows.tolist():
            self.remarks[row] = f"not adapted: {' and '.join(reasons)}"
        return plain


def agreement(plain: Prediction, adapted: Prediction, spec: ModelSpec) -> float:
    """How much two predictions of a scan agree: mean Dice over foreground classes, or the share of equal labels.

    Returns: in [0, 1]; a class that neither shows counts as 1.
    """
    one, other = (prediction.labels.cpu() for prediction in (plain, adapted))
    if spec.kind != "segment":
        return float((one == other).double().mean())
    return float(count_overlap(one.numpy(), other.numpy(), len(spec.classes)).dice()[1:].mean())


def confidence(prediction: Prediction, spec: ModelSpec) -> float:
    """Mean probability of what is predicted, over images, pixels and labels, in [0, 1]."""
    probabilities = prediction.probabilities.double()
    if spec.kind == "multilabel":
        return float(torch.maximum(probabilities, 1 - probabilities).mean())
    return float(probabilities.amax(dim=1).mean())
