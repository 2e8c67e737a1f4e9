"""What an image looks like when seen very small: enough to find its copies, however they were saved."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SIDE = 32
"""Pixels along each side of a signature."""
PER_DEVIATION = 31.75
"""Steps of a signature per standard deviation: four deviations fill eight bits."""
LUMINANCE = (0.299, 0.587, 0.114)
OUTLIERS = 0.5
"""Percent of the pixels at each end that are clipped, so that a burnt-in marker does not set the scale."""
LOOKED_AT = 128
"""Pixels along the shorter side that suffice for these percentiles."""


def sign(array: np.ndarray) -> np.ndarray | None:
    """Shrink an image to a signature by which its copies can be found: a perceptual hash of a kilobyte.

    Brightness and contrast do not matter, size and file format hardly.

    Args:
        array: (H, W, C) or (D, H, W, C), any real dtype and range.

    Returns: (1, 32, 32) int8 of an image, (3, 32, 32) of the three middle planes of a volume, in standard deviations
        / 31.75; None where a plane is constant or not finite: such images have nothing to compare.

    >>> ramp = np.arange(64 * 48).reshape(64, 48, 1)
    >>> np.array_equal(sign(ramp), sign(3 * ramp + 100))
    True
    >>> sign(np.zeros((8, 8, 1))) is None
    True
    """
    planes = [shrink(plane, SIDE) for plane in middle_planes(array)]
    if any(plane is None for plane in planes):
        return None
    steps = np.clip(np.rint(np.stack([p for p in planes if p is not None]) * PER_DEVIATION), -127, 127)
    return steps.astype(np.int8)


def middle_planes(array: np.ndarray) -> Sequence[np.ndarray]:
    """The image itself, or the three planes through the middle of a volume; each (H, W, C)."""
    if array.ndim == 3:
        return (array,)
    depth, height, width = (length // 2 for length in array.shape[:3])
    return array[depth], array[:, height], array[:, :, width]


def shrink(plane: np.ndarray, side: int) -> np.ndarray | None:
    """An image in grey at another size, its outliers clipped, with mean 0 and standard deviation 1.

    Args:
        plane: (H, W, C), any real dtype; three or more channels are taken for red, green and blue.

    Returns: (side, side) float32; None where it is constant or not finite.
    """
    from PIL import Image

    grey = plane[..., 0] if plane.shape[-1] < 3 else plane[..., :3] @ np.asarray(LUMINANCE, np.float32)
    grey = np.ascontiguousarray(grey, np.float32)
    if not np.isfinite(grey).all() or grey.min() == grey.max():
        return None
    step = max(1, min(grey.shape) // LOOKED_AT)
    low, high = np.percentile(grey[::step, ::step], (OUTLIERS, 100 - OUTLIERS))
    if high > low:
        grey = np.clip(grey, low, high)
    small = np.asarray(Image.fromarray(grey).resize((side, side), Image.Resampling.BILINEAR), np.float64)
    spread = small.std()
    if spread <= 1e-6 * np.abs(small).max():  # constant but for rounding
        return None
    normal: np.ndarray = ((small - small.mean()) / spread).astype(np.float32)
    return normal
