"""The small nouns that every part of the house shares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict, model_validator

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

Field = Literal["images", "truth", "imperfect_boxes", "patients", "sites", "attributes"]
"""What a cohort can offer; `truth` is whatever annotation the task's kind uses."""

Kind = Literal["classify", "multilabel", "segment", "detect", "encode"]
"""What a model is for; `encode` has no labels."""

Split = Literal["train", "validation", "test"]

FIELDS: tuple[Field, ...] = get_args(Field)
KINDS: tuple[Kind, ...] = get_args(Kind)
SPLITS: tuple[Split, ...] = get_args(Split)


class Picture(NamedTuple):
    """An image as stored in its file.

    array: (H, W, C) or (D, H, W, C), the file's own numbers (rescaled where the format says how).
    spacing: millimetres per spatial axis in array order, or None where the file does not tell.
    """

    array: np.ndarray
    spacing: tuple[float, ...] | None = None


class Batch(NamedTuple):
    """Prepared rows of a cohort.

    images: (B, C, *spatial) float32.
    truth: classify (B,) int64; multilabel (B, K) float32, NaN where missing; segment (B, *spatial) int64; else None.
    rows: (B,) positions within the cohort that was asked.
    """

    images: Tensor
    truth: Tensor | None
    rows: np.ndarray


class Step(NamedTuple):
    """What one optimisation step works on; every tensor has the same first dimension, the rows."""

    tensors: Mapping[str, Tensor]


class Loss(NamedTuple):
    """A loss to descend, a scalar tensor, and its named parts to log, each a mean over the rows of the batch.

    parts: scalars; or (2,) for what only some rows have, such as an accuracy of those: its sum and their number, both
        divided by all rows. The history tells the one over the other, each first averaged over the epoch; NaN where
        no row had it.
    """

    total: Tensor
    parts: Mapping[str, Tensor] = {}


class Progress(NamedTuple):
    """Where a training is: epoch counts from 0; step counts optimisation steps over all epochs."""

    epoch: int
    epochs: int
    step: int = 0

    @property
    def fraction(self) -> float:
        """Share of the epochs behind us, in [0, 1].

        >>> Progress(epoch=3, epochs=12).fraction
        0.25
        """
        return self.epoch / max(1, self.epochs)


class Preparation(BaseModel):
    """How file values become network input; part of a model's spec and replayed at prediction.

    Order: RGB to luminance, intensity, spacing or size, grey replicated, mean/std. Intensity statistics are
    taken over all stored pixels and channels of an image or volume, so they do not depend on `size`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dimensions: Literal[2, 3] = 2
    """2: the network sees images, and volumes slice by slice; 3: it sees volumes."""
    slices: int = 1
    """Of volumes, how many neighbouring slices a two-dimensional network sees as channels (2.5D): an odd number."""
    patch: tuple[int, ...] | None = None
    """(H, W) or (D, H, W) in prepared pixels: training draws crops of this size and prediction slides a window of
    this size over the image; None takes whole images or slices. Segmentation only."""
    size: tuple[int, ...] | None = None
    """(H, W) or (D, H, W) in pixels to resize to; None keeps the stored size."""
    spacing: tuple[float, ...] | None = None
    """Millimetres per pixel to resample to, (H, W) or (D, H, W); excludes `size`. Needs files that tell theirs."""
    channels: int = 3
    """Input channels, `slices` included: grey is replicated, RGB becomes luminance, anything else must match."""
    intensity: Literal["unit", "percentiles", "zscore", "zscore_nonzero", "window", "none"] = "unit"
    """`unit`: [0, 1] by the dtype's range (signed and floats: by image minimum and maximum); `percentiles`:
    these two become 0 and 1, clipped; `zscore`: mean 0, sd 1 per image; `zscore_nonzero`: the same over
    non-zero pixels, zeros stay 0; `window`: centre and width (CT, Hounsfield units) to [0, 1], clipped;
    `none`: as stored. A constant image becomes zeros where its own spread would be the divisor."""
    percentiles: tuple[float, float] = (1.0, 99.0)
    window: tuple[float, float] | None = None
    """(centre, width) in stored units."""
    mean: tuple[float, ...] | None = None
    """Subtracted per channel after `intensity`."""
    std: tuple[float, ...] | None = None
    """Divided by per channel after `intensity`."""

    @model_validator(mode="after")
    def _consistent(self) -> Preparation:
        for name, numbers in (("patch", self.patch), ("size", self.size), ("spacing", self.spacing)):
            if numbers is not None and (len(numbers) != self.dimensions or any(n <= 0 for n in numbers)):
                order = "(H, W)" if self.dimensions == 2 else "(D, H, W)"
                raise ValueError(f"{name} must be {self.dimensions} positive numbers {order}")
        if self.channels < 1:
            raise ValueError(f"channels must be 1 or more, got {self.channels}")
        if self.slices < 1 or self.slices % 2 == 0 or (self.slices > 1 and self.dimensions == 3):
            raise ValueError("slices must be 1, or 3, 5, ... for a two-dimensional network")
        if self.channels % self.slices:
            raise ValueError("channels must be a multiple of slices")
        if self.size is not None and self.spacing is not None:
            raise ValueError("size and spacing exclude each other; keep one of the two")
        if self.intensity == "window" and self.window is None:
            raise ValueError("intensity='window' needs window=(centre, width)")
        if not 0 <= self.percentiles[0] < self.percentiles[1] <= 100:
            raise ValueError("percentiles must satisfy 0 <= low < high <= 100")
        if self.std is not None and any(s <= 0 for s in self.std):
            raise ValueError("std must be positive")
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std come together")
        return self


JSON = dict[str, Any]
