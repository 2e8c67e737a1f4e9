"""File values to network input, and network output back to the file's pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from medgraft.errors import DataError, SettingsError, ShapeError
from medgraft.images.resampling import nearest, resize
from medgraft.types import Preparation

LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601)."""


class ValueRange(NamedTuple):
    """The prepared values that stand for black and white, per channel."""

    low: tuple[float, ...]
    high: tuple[float, ...]


class Preparer:
    """Turn stored images and masks into what a model expects, the same way at training and prediction.

    Order: RGB to luminance, intensity (its statistics over all stored pixels and channels of the image, at
    stored resolution, so they do not depend on `size`), resizing (bilinear, antialiased when shrinking), grey
    replicated, mean/std. Constant images become zeros wherever a division by their spread would be needed.

    Args:
        preparation: the settings, part of a model's spec.

    Raises:
        SettingsError: mean or std, spacing or window do not fit the rest of the settings.

    >>> prepare = Preparer(Preparation(size=(2, 2), channels=3))
    >>> prepare.image(np.full((4, 4, 1), 255, np.uint8)).shape
    torch.Size([3, 2, 2])
    >>> prepare.mask(np.eye(4, dtype=np.uint8)).tolist()
    [[1, 0], [0, 1]]
    """

    def __init__(self, preparation: Preparation) -> None:
        self.preparation = preparation
        _check_settings(preparation)
        self._mean = _per_channel(preparation.mean)
        self._std = _per_channel(preparation.std)

    def image(self, array: np.ndarray, spacing: Sequence[float] | None = None) -> Tensor:
        """Prepare one image for the network.

        Args:
            array: (H, W, C), bool, integer or float, the file's own numbers; finite.
            spacing: millimetres per pixel, (H, W) order; needed where the preparation resamples to a spacing.

        Returns: (C, h, w) float32 with the preparation's number of channels; shares no memory with `array`.

        Raises:
            DataError: wrong shape or channels, NaN or infinite values, a spacing that is missing.
        """
        if self.preparation.dimensions == 3:
            raise DataError(
                "Preparation", "volumes, because the network is three-dimensional", "this is a single image",
                "Give volumes, or choose a two-dimensional network.",
            )  # fmt: skip
        values = self._stored(array, spacing, ndim=3)
        return self.to_input(values[:, None].expand(-1, self.preparation.slices, -1, -1))

    def volume(self, array: np.ndarray, spacing: Sequence[float] | None = None) -> Tensor:
        """Prepare one volume, up to what windows of it have in common; `to_input` makes the rest.

        Args:
            array: (D, H, W, C), bool, integer or float, the file's own numbers; finite.
            spacing: millimetres per voxel, (D, H, W) order; needed where the preparation resamples to a spacing.

        Returns: (c, d, h, w) float32 with the channels of one slice, not yet replicated or standardised. A
            two-dimensional network keeps the number of slices.

        Raises:
            DataError: as for `image`.
        """
        return self._stored(array, spacing, ndim=4)

    def to_input(self, block: Tensor) -> Tensor:
        """Make network input of a part of a prepared volume.

        Args:
            block: (c, d, h, w) of `volume`; for a two-dimensional network d is `preparation.slices`.

        Returns: (C, h, w), neighbouring slices as channels, or (C, d, h, w).

        >>> Preparer(Preparation(channels=3, slices=3)).to_input(torch.zeros(1, 3, 5, 6)).shape
        torch.Size([3, 5, 6])
        """
        per_slice = self.preparation.channels // self.preparation.slices
        if block.shape[0] != per_slice:
            block = block.repeat(per_slice, 1, 1, 1)
        if self.preparation.dimensions == 2:
            block = block.transpose(0, 1).flatten(0, 1)
        if self._mean is not None and self._std is not None:
            shape = (-1, *[1] * (block.ndim - 1))
            block = (block - self._mean.view(shape)) / self._std.view(shape)
        return block

    def _stored(self, array: np.ndarray, spacing: Sequence[float] | None, ndim: int) -> Tensor:
        _check_image(array, ndim)
        size = self.size_of(array.shape[:-1], spacing)
        values = torch.from_numpy(np.array(np.moveaxis(array, -1, 0), dtype=np.float32, order="C"))
        if array.dtype.kind == "f" and not torch.isfinite(values).all():
            bad = int((~torch.isfinite(values)).sum())
            raise DataError(
                "Preparation",
                "finite pixel values",
                f"{bad} of {values.numel()} values of this image are NaN or infinite",
                "Repair or remove this image.",
            )
        return resize(self._scale(self._fewer_channels(values), array.dtype), size)

    def mask(self, array: np.ndarray, spacing: Sequence[float] | None = None) -> Tensor:
        """Prepare one mask, keeping its labels (nearest pixel, aligned with the image).

        Args:
            array: (H, W) or (H, W, 1), whole-numbered labels of any real dtype.
            spacing: as for `image`.

        Returns: (h, w) int64.

        Raises:
            DataError: wrong shape, labels that are not whole numbers, a spacing that is missing.
        """
        if array.ndim == 3 and array.shape[2] == 1:
            array = array[:, :, 0]
        _check_labels(array, ndim=2)
        return torch.from_numpy(_nearest_of(array, self.size_of(array.shape, spacing)).astype(np.int64))

    def volume_mask(self, array: np.ndarray, spacing: Sequence[float] | None = None) -> np.ndarray:
        """Prepare the mask of a volume (nearest voxel, aligned with `volume`).

        Args:
            array: (D, H, W) whole-numbered labels from 0 on, of any real dtype.
            spacing: as for `volume`.

        Returns: (d, h, w) uint8, or uint16 where labels exceed 255.

        Raises:
            DataError: as for `mask`.
        """
        _check_labels(array, ndim=3)
        labels = _nearest_of(array, self.size_of(array.shape, spacing))
        return labels.astype(np.uint8 if labels.max() <= 255 else np.uint16)

    def restore(self, scores: Tensor, shape: Sequence[int]) -> Tensor:
        """Bring per-pixel scores back to the stored resolution of their image.

        Args:
            scores: (K, h, w) float, probabilities or logits.
            shape: (H, W) of the stored image.

        Returns: (K, H, W) float32 on the same device; where `scores` sum to one over K, so does this.

        Raises:
            ShapeError: `scores` is not (K, h, w).
        """
        if scores.ndim != 3:
            raise ShapeError(
                "Preparer.restore",
                "scores of shape (K, h, w)",
                f"got shape {tuple(scores.shape)}",
                "Pass one image's scores at a time.",
            )
        return resize(scores.float(), shape)

    def size_of(self, shape: Sequence[int], spacing: Sequence[float] | None = None) -> tuple[int, ...]:
        """Tell the prepared (h, w) of an image stored as (H, W), or the (d, h, w) of a volume.

        >>> Preparer(Preparation(spacing=(0.5, 0.5))).size_of((100, 80), spacing=(1.0, 0.25))
        (200, 40)
        >>> Preparer(Preparation(size=(32, 32))).size_of((90, 100, 80))
        (90, 32, 32)
        """
        dimensions = self.preparation.dimensions
        if len(shape) > dimensions:  # slice by slice
            flat = None if spacing is None else spacing[-dimensions:]
            return (*map(int, shape[:-dimensions]), *self.size_of(shape[-dimensions:], flat))
        if self.preparation.size is not None:
            return self.preparation.size
        wanted = self.preparation.spacing
        if wanted is None:
            return tuple(map(int, shape))
        if (
            spacing is None
            or len(spacing) != len(wanted)
            or not all(np.isfinite(s) and s > 0 for s in spacing)
        ):
            raise DataError(
                "Preparation",
                f"the pixel spacing in millimetres to resample to {tuple(wanted)}",
                "the file tells none" if spacing is None else f"the file tells {tuple(spacing)}",
                f"Use files that hold {len(wanted)} positive spacings, or prepare by size instead of spacing.",
            )
        return tuple(max(1, round(n * s / w)) for n, s, w in zip(shape, spacing, wanted))

    @property
    def value_range(self) -> ValueRange | None:
        """What stands for black and white after preparation, or None where it differs by image.

        >>> Preparer(Preparation(channels=1, mean=(0.5,), std=(0.25,))).value_range
        ValueRange(low=(-2.0,), high=(2.0,))
        """
        if self.preparation.intensity not in ("unit", "percentiles", "window"):
            return None
        mean = self.preparation.mean or (0.0,) * self.preparation.channels
        std = self.preparation.std or (1.0,) * self.preparation.channels
        return ValueRange(
            tuple(-m / s for m, s in zip(mean, std)), tuple((1 - m) / s for m, s in zip(mean, std))
        )

    def _fewer_channels(self, values: Tensor) -> Tensor:
        stored, wanted = values.shape[0], self.preparation.channels // self.preparation.slices
        if stored == wanted or stored == 1:
            return values
        if stored == 3 and wanted == 1:
            weights = values.new_tensor(LUMINANCE).view(3, *[1] * (values.ndim - 1))
            return (values * weights).sum(0, keepdim=True)
        raise DataError(
            "Preparation",
            f"images of {wanted} channel{'s' if wanted > 1 else ''} (or grey ones)",
            f"this one has {stored}",
            "Save it with the channels the model was made for, or set channels to its number.",
        )

    def _scale(self, values: Tensor, dtype: np.dtype) -> Tensor:
        settings = self.preparation
        match settings.intensity:
            case "none":
                return values
            case "unit":
                if dtype.kind == "b":
                    return values
                if dtype.kind == "u":
                    return values.div_(float(np.iinfo(dtype).max))
                low, high = (float(v) for v in torch.aminmax(values))
            case "percentiles":
                low, high = (float(v) for v in np.percentile(values.numpy(), settings.percentiles))
            case "window":
                assert settings.window is not None  # held by Preparation
                centre, width = settings.window
                low, high = centre - width / 2, centre + width / 2
            case "zscore":
                return _standardise(values)
            case "zscore_nonzero":
                return _standardise(values, (values != 0).any(0, keepdim=True).expand_as(values))
        if high <= low:
            return torch.zeros_like(values)
        return values.sub_(low).div_(high - low).clamp_(0.0, 1.0)  # a copy of the caller's numbers


def _standardise(values: Tensor, where: Tensor | None = None) -> Tensor:
    """Mean 0 and population sd 1 over `where` (everywhere if None); the rest becomes 0."""
    chosen = (values if where is None else values[where]).numpy()
    # Minimum against maximum, because rounding gives a constant image a tiny sd instead of none.
    if chosen.size == 0 or chosen.min() == chosen.max():
        return torch.zeros_like(values)
    mean, sd = float(chosen.mean(dtype=np.float64)), float(chosen.std(dtype=np.float64))
    scaled = (values - mean) / sd
    return scaled if where is None else torch.where(where, scaled, 0.0)


def _per_channel(values: tuple[float, ...] | None) -> Tensor | None:
    return None if values is None else torch.tensor(values, dtype=torch.float32)


def _check_settings(settings: Preparation) -> None:
    for name, numbers in (("mean", settings.mean), ("std", settings.std)):
        if numbers is not None and len(numbers) != settings.channels:
            raise SettingsError(
                "Preparation",
                f"one {name} per channel, {settings.channels} in all",
                f"got {len(numbers)}",
                f"Give {name} as many numbers as channels.",
            )
    if settings.window is not None and not settings.window[1] > 0:
        raise SettingsError(
            "Preparation",
            "a window (centre, width) with positive width",
            f"got {settings.window}",
            "Mend window.",
        )


def _check_labels(array: np.ndarray, ndim: int) -> None:
    if array.ndim != ndim or array.size == 0 or array.dtype.kind not in "buif":
        raise DataError(
            "Preparation",
            "a mask of numbers with shape " + ("(H, W) or (H, W, 1)" if ndim == 2 else "(D, H, W)"),
            f"this one is {array.dtype} with shape {array.shape}",
            "Store one label per pixel.",
        )
    if array.dtype.kind == "f" and not (np.isfinite(array).all() and np.array_equal(array, np.rint(array))):
        raise DataError(
            "Preparation",
            "whole-numbered mask labels",
            "this mask holds fractions, NaN or infinite values",
            "Round it, or save it without interpolation.",
        )


def _nearest_of(array: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """The array at another size, each pixel that of the nearest stored one."""
    if array.shape == tuple(size):
        return array
    chosen = np.ix_(*(nearest(stored, wanted).numpy() for stored, wanted in zip(array.shape, size)))
    return np.asarray(array[chosen])


def _check_image(array: np.ndarray, ndim: int) -> None:
    if array.ndim != ndim or array.size == 0 or array.dtype.kind not in "buif":
        shape, what = ("(H, W, C)", "one 2D image") if ndim == 3 else ("(D, H, W, C)", "one volume")
        raise DataError(
            "Preparation",
            f"an image of numbers with shape {shape}",
            f"this one is {array.dtype} with shape {array.shape}",
            f"Save it as {what} with channels last.",
        )
