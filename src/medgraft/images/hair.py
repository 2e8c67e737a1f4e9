"""Take hair out of pictures of skin."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import convolve, maximum_filter1d, minimum_filter1d

from medgraft.images.preparation import LUMINANCE

CROSS = 17 / 256
"""Arms of the cross, from end to end, as a part of the shorter side: what is darker and narrower is hair."""
LEAST_DEPTH = 10
"""Grey levels by which hair is darker than what lies around it."""
_AROUND = np.ones((3, 3))


def hair_mask(image: np.ndarray) -> np.ndarray:
    """Find dark, narrow things on bright ground: hairs, and thin marks of a ruler too.

    Args:
        image: (H, W, 3) uint8, red, green, blue.

    Returns: (H, W) bool.

    Source: the black-hat transform of Bevan & Atapour-Abarghouei 2022 (their code), 17 x 17 pixels of 256, more than
        10 grey levels. Differs: the cross grows and shrinks with the image.

    >>> skin = np.full((64, 64, 3), 200, np.uint8)
    >>> skin[:, 30] = 40
    >>> hair_mask(skin).sum(axis=1)[:3].tolist()
    [1, 1, 1]
    """
    grey = (image @ np.array(LUMINANCE)).round()
    length = max(3, 2 * round((CROSS * min(grey.shape) - 1) / 2) + 1)
    widened = np.maximum(*(maximum_filter1d(grey, length, axis) for axis in (0, 1)))
    closed = np.minimum(*(minimum_filter1d(widened, length, axis) for axis in (0, 1)))
    hidden: np.ndarray = closed - grey > LEAST_DEPTH
    return hidden


def fill(image: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """Fill pixels from their surroundings, from the edge inwards: each is the mean of its known neighbours.

    Args:
        image: (H, W, C) uint8.
        hidden: (H, W) bool, what is to be filled; some pixel must not be.

    Returns: (H, W, C) uint8; other pixels stay as they are.

    Source: the idea of Telea 2004 with radius 1. Differs: whole rings are filled at a time, not the nearest pixel
        first, and neighbours count the same, whatever their distance, direction and gradient.

    >>> image = np.full((3, 3, 1), 7, np.uint8)
    >>> image[1, 1] = 99
    >>> fill(image, image[..., 0] == 99)[1, 1].tolist()
    [7]
    """
    values = np.where(hidden[..., None], 0.0, image)
    missing = hidden.copy()
    while missing.any():
        rows, columns = (_reach(places) for places in np.nonzero(missing))
        part, absent = values[rows, columns], missing[rows, columns]
        known = convolve((~absent).astype(float), _AROUND, mode="constant")
        ring = absent & (known > 0)
        for channel in range(part.shape[-1]):
            total = convolve(part[..., channel], _AROUND, mode="constant")
            part[ring, channel] = total[ring] / known[ring]
        absent[ring] = False
    return values.round().astype(np.uint8)


def remove_hair(image: np.ndarray) -> np.ndarray:
    """Replace hair by the skin beside it.

    Args:
        image: (H, W, 3) uint8, red, green, blue.

    Returns: like `image`.

    Source: see `hair_mask` and `fill`.

    >>> skin = np.full((64, 64, 3), 200, np.uint8)
    >>> skin[:, 30] = 40
    >>> bool((remove_hair(skin) == 200).all())
    True
    """
    return fill(image, hair_mask(image))


def _reach(places: np.ndarray) -> slice:
    """From the first to the last of them, and one more on each side."""
    return slice(max(0, int(places.min()) - 1), int(places.max()) + 2)
